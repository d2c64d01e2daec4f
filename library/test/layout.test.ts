// The architecture as a table: who may import whom, how large a file may be, what it may not be called.
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { test } from 'node:test'

/** Path from the repository's root → source. */
type Sources = Readonly<Record<string, string>>

interface Row {
  /** Files, or folders with `/` at the end; within `library/src`. */
  readonly who: readonly string[]
  readonly may: readonly string[]
  /** By `import type` only. */
  readonly mayTypes?: readonly string[]
}

const contracts = ['store.ts', 'feed.ts', 'events.ts', 'errors.ts']
const pure = ['policy.ts', 'data.ts', 'cross-site.ts', 'roles.ts', 'device.ts']
const core = [
  'session.ts',
  'sessions.ts',
  'options.ts',
  'arriving.ts',
  'stored-sessions.ts',
  'held-session.ts',
  'backend.ts',
  'stored-backend.ts',
  'lifecycle.ts',
  'endings.ts',
  'verification.ts',
  'asking.ts',
  'refreshing.ts',
  'watching.ts',
]
const interfaces = ['transport/transport.ts', 'credentials/credentials.ts', 'verify/verify.ts']

/** The first row that names a file holds. `#…` stands for a file of `internal/` with a form per runtime. */
const table: readonly Row[] = [
  { who: contracts, may: [] },
  { who: ['index.ts', 'testing/'], may: ['*'] },
  { who: pure, may: [...contracts, 'internal/'] },
  { who: ['identity.ts'], may: [...contracts, 'internal/', 'device.ts'] },
  { who: core, may: [...contracts, ...pure, 'identity.ts', ...core, ...interfaces, 'internal/'] },
  { who: ['internal/'], may: [...contracts, 'internal/'], mayTypes: ['transport/transport.ts'] },
  { who: ['transport/'], may: [...contracts, 'internal/', 'transport/transport.ts'] },
  {
    who: ['credentials/'],
    may: [...contracts, 'identity.ts', 'roles.ts', 'internal/', 'credentials/'],
  },
  { who: ['verify/'], may: [...contracts, 'internal/', 'verify/'], mayTypes: ['credentials/credentials.ts'] },
  { who: ['stores/'], may: ['store.ts', 'errors.ts', 'internal/'] },
  { who: ['feeds/'], may: ['feed.ts', 'errors.ts', 'internal/'] },
  {
    who: ['adapters/'],
    may: ['errors.ts', 'internal/'],
    mayTypes: ['sessions.ts', 'session.ts', 'transport/transport.ts', 'npm:', 'node:'],
  },
  {
    who: ['compat/'],
    may: ['index.ts', 'data.ts', ...contracts, 'internal/', 'compat/'],
    mayTypes: ['policy.ts', 'npm:'],
  },
  { who: ['remote/'], may: [...contracts, ...pure, 'identity.ts', ...core, ...interfaces, 'internal/', 'remote/'] },
]

/** The only places that run on Node alone; everything else of the library runs anywhere. */
const nodeOnly = /\.node\.ts$|^(stores|feeds)\/sqlite\.ts$|^testing\/|^compat\//
/** The only packages of others that the library may import, and where. */
const packageHomes: Readonly<Record<string, string>> = { jose: 'credentials/', 'fast-check': 'testing/' }

const linesAtMost = 400
const adapterLinesAtMost = 60
const interfaceLinesAtMost = 30
const vagueWords = new Set(['util', 'utils', 'manager', 'managers', 'helper', 'helpers', 'base'])
const barrels = new Set(['library/src/index.ts', 'library/src/testing/index.ts'])
/** Each file of the folder must pass its contract. */
const contractOf: Readonly<Record<string, string>> = { stores: 'testStore', feeds: 'testFeed' }

const library = 'library/src/'

/** Every way in which the sources break the table, each naming the files it is about. */
function violations(sources: Sources): readonly string[] {
  return Object.entries(sources).flatMap(([path, source]) => [
    ...importsOf(source).flatMap((reference) => importViolation(path, reference)),
    ...nameViolations(path, source),
    ...sizeViolations(path, source),
    ...shapeViolations(path, source),
    ...untested(path, sources),
  ])
}

interface Reference {
  readonly specifier: string
  readonly typeOnly: boolean
}

/** Static imports begin a line, as the formatter writes them; dynamic ones may be anywhere but in a comment. */
const staticImport =
  /^(?:import|export)[ ]+(type\s+)?(?:(?:[\w$]+\s*,?\s*)?(?:\*(?:\s+as\s+[\w$]+)?|\{[^}]*\})?\s*from\s+)?['"]([^'"]+)['"]/gm
const dynamicImport = /^(?!\s*(?:\*|\/\/)).*?\bimport\(\s*['"`]([^'"`]+)/gm

function importsOf(source: string): readonly Reference[] {
  return [
    ...[...source.matchAll(staticImport)].map(([, type, to]) => ({ specifier: to!, typeOnly: type !== undefined })),
    ...[...source.matchAll(dynamicImport)].map(([, to]) => ({ specifier: to!, typeOnly: false })),
  ]
}

function importViolation(path: string, { specifier, typeOnly }: Reference): readonly string[] {
  const target = targetOf(path, specifier)
  const broken = (rule: string): readonly string[] => [`${path} imports ${target}: ${rule}`]
  if (!path.startsWith(library)) return outsideViolation(path, target, broken)

  const from = path.slice(library.length)
  const row = table.find(({ who }) => who.some((entry) => covers(entry, from)))
  if (row === undefined) return broken(`${path} is in no row of the table`)
  if (target.startsWith('node:')) {
    if (nodeOnly.test(from) || (typeOnly && row.mayTypes?.includes('node:'))) return []
    return broken(typeOnly ? 'no Node types here' : 'this file runs on any runtime')
  }
  if (target.startsWith('npm:')) {
    if (typeOnly && row.mayTypes?.includes('npm:')) return []
    const home = packageHomes[target.slice('npm:'.length)]
    if (home !== undefined && from.startsWith(home)) return []
    return broken(row.mayTypes?.includes('npm:') ? 'by `import type` only' : 'the library depends on nothing')
  }
  if (!target.startsWith(library)) return broken('the library imports only itself')
  const to = target.slice(library.length)
  if (row.may.some((entry) => covers(entry, to))) return []
  if (!row.mayTypes?.some((entry) => covers(entry, to))) return broken('not in its row of the table')
  return typeOnly ? [] : broken('by `import type` only')
}

/** Everything else uses the library as its users do. Tests may share the servers of `scripts/`. */
function outsideViolation(
  path: string,
  target: string,
  broken: (rule: string) => readonly string[],
): readonly string[] {
  const home = workspaceOf(path)
  if (/^npm:holdfast\/(src|dist)\//.test(target)) return broken('the library by its public paths only')
  if (target.startsWith('npm:') || target.startsWith('node:') || target.startsWith(`${home}/`)) return []
  if (target.startsWith('scripts/') && !path.startsWith(`${home}/src/`)) return []
  return broken(target.startsWith('library/') ? 'the library by its public paths only' : `leaves ${home}`)
}

function workspaceOf(path: string): string {
  return path
    .split('/')
    .slice(0, path.startsWith('examples/') ? 2 : 1)
    .join('/')
}

function targetOf(path: string, specifier: string): string {
  if (specifier.startsWith('.')) return posix.join(posix.dirname(path), specifier)
  if (specifier.startsWith('#')) return `${library}internal/${specifier}`
  return specifier.startsWith('node:') ? specifier : `npm:${specifier}`
}

function covers(entry: string, file: string): boolean {
  return entry === '*' || entry === file || (entry.endsWith('/') && file.startsWith(entry))
}

function nameViolations(path: string, source: string): readonly string[] {
  const exported = [...source.matchAll(/^export (?:abstract )?(?:class|function|interface|type|const) ([\w$]+)/gm)]
  const names = [path, ...(path.startsWith(library) ? exported.map(([, name]) => name!) : [])]
  return names.flatMap((name) => {
    const words = name.match(/[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])/g) ?? []
    const vague = words.find((word) => vagueWords.has(word.toLowerCase()))
    return vague === undefined ? [] : [`${path}: '${name}' says '${vague}' instead of what it does`]
  })
}

function sizeViolations(path: string, source: string): readonly string[] {
  const found: string[] = []
  const lines = source.trimEnd().split('\n')
  const limit = path.startsWith(`${library}adapters/`) ? adapterLinesAtMost : linesAtMost
  if (/^(library|service)\/src\//.test(path) && lines.length > limit) {
    found.push(`${path}: ${lines.length} lines, at most ${limit}`)
  }
  if (path === `${library}store.ts` || path === `${library}feed.ts`) {
    for (const [, name, body] of source.matchAll(/^export interface (\w+)[^\n]*\{\n([\s\S]*?)^\}/gm)) {
      const code = body!.split('\n').filter((line) => !/^\s*(\/\/|\/\*|\*|$)/.test(line)).length
      if (code > interfaceLinesAtMost) found.push(`${path}: ${name} has ${code} lines, at most ${interfaceLinesAtMost}`)
    }
  }
  return found
}

function shapeViolations(path: string, source: string): readonly string[] {
  if (!path.startsWith(library)) return []
  const found: string[] = []
  if (!/^\/[/*]/.test(source)) found.push(`${path}: does not open with a line that says what it is for`)
  const declares =
    /^(export (default |abstract |async )*(class|function|interface|type \w|const|let)|(class|function|const) )/m
  const passesOn = /^export (type )?(\*|\{)/m
  if (!barrels.has(path) && (/^export (type )?\*/m.test(source) || (passesOn.test(source) && !declares.test(source)))) {
    found.push(`${path}: a barrel; only ${[...barrels].join(' and ')} may be one`)
  }
  return found
}

function untested(path: string, sources: Sources): readonly string[] {
  const [, folder, name] = /^library\/src\/(\w+)\/([\w-]+)\.ts$/.exec(path) ?? []
  const contract = contractOf[folder ?? '']
  if (contract === undefined) return []
  const isTested = Object.entries(sources).some(
    ([test, source]) =>
      test.startsWith('library/test/') &&
      source.includes(`${contract}(`) &&
      importsOf(source).some(({ specifier }) =>
        [path, `npm:holdfast/${folder}/${name}`].includes(targetOf(test, specifier)),
      ),
  )
  return isTested ? [] : [`${path}: no line of library/test/ runs ${contract}() on it`]
}

function repository(): Sources {
  const root = join(import.meta.dirname, '../..')
  const paths = globSync('{library,service,console,examples,bench,faults,deploy}/**/*.{ts,tsx,mts}', {
    cwd: root,
    exclude: (path) => /(^|\/)(node_modules|dist)$/.test(path),
  })
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]))
}

test('the sources keep to the layout', () => {
  const sources = repository()
  assert.ok('library/src/store.ts' in sources, 'the sources were not found')
  assert.deepEqual(violations(sources), [])
})

const opening = '// What it is for.\n'
const plants: readonly (readonly [what: string, sources: Sources, expected: RegExp])[] = [
  [
    'a contract that imports something',
    { 'library/src/store.ts': `${opening}import type { Notice } from './feed.ts'` },
    /^library\/src\/store\.ts imports library\/src\/feed\.ts/,
  ],
  [
    'a pure file that knows a store',
    { 'library/src/policy.ts': `${opening}import { memoryStore } from './stores/memory.ts'` },
    /^library\/src\/policy\.ts imports library\/src\/stores\/memory\.ts/,
  ],
  [
    'the meeting place choosing a transport',
    { 'library/src/sessions.ts': `${opening}import {\n  cookieTransport,\n} from './transport/cookie.ts'` },
    /^library\/src\/sessions\.ts imports library\/src\/transport\/cookie\.ts/,
  ],
  [
    'the meeting place choosing a credential',
    { 'library/src/session.ts': `${opening}import type { X } from './credentials/opaque.ts'` },
    /^library\/src\/session\.ts imports library\/src\/credentials\/opaque\.ts/,
  ],
  [
    'something internal that knows a store, even by a dynamic import',
    { 'library/src/internal/a.ts': `${opening}const store = await import('../stores/redis.ts')` },
    /^library\/src\/internal\/a\.ts imports library\/src\/stores\/redis\.ts/,
  ],
  [
    'a store that knows another store',
    {
      'library/src/stores/redis.ts': `${opening}import { row } from './sqlite.ts'`,
      'library/test/stores/redis.test.ts': `import { redisStore } from 'holdfast/stores/redis'\ntestStore(test, redisStore)`,
    },
    /^library\/src\/stores\/redis\.ts imports library\/src\/stores\/sqlite\.ts/,
  ],
  [
    'a transport that knows a credential',
    { 'library/src/transport/cookie.ts': `${opening}export { opaque } from '../credentials/opaque.ts'\nconst x = 1` },
    /^library\/src\/transport\/cookie\.ts imports library\/src\/credentials\/opaque\.ts/,
  ],
  [
    'something internal that knows the sessions',
    { 'library/src/internal/a.ts': `${opening}import '../sessions.ts'` },
    /^library\/src\/internal\/a\.ts imports library\/src\/sessions\.ts/,
  ],
  [
    'an adapter that runs the sessions',
    { 'library/src/adapters/express.ts': `${opening}import { storedSessions } from '../sessions.ts'` },
    /^library\/src\/adapters\/express\.ts imports library\/src\/sessions\.ts: by `import type` only/,
  ],
  [
    'an adapter that runs its framework',
    { 'library/src/adapters/express.ts': `${opening}import express from 'express'` },
    /^library\/src\/adapters\/express\.ts imports npm:express: by `import type` only/,
  ],
  [
    'an adapter that runs Node',
    { 'library/src/adapters/fetch.ts': `${opening}import { createServer } from 'node:http'` },
    /^library\/src\/adapters\/fetch\.ts imports node:http: this file runs on any runtime/,
  ],
  [
    'an adapter with a life of its own',
    { 'library/src/adapters/express.ts': opening.repeat(61) },
    /^library\/src\/adapters\/express\.ts: 61 lines, at most 60/,
  ],
  [
    'Node in a file that runs anywhere',
    { 'library/src/data.ts': `${opening}import { Buffer } from 'node:buffer'` },
    /^library\/src\/data\.ts imports node:buffer/,
  ],
  [
    'a package in the library',
    { 'library/src/internal/a.ts': `${opening}import type { createClient } from 'redis'` },
    /^library\/src\/internal\/a\.ts imports npm:redis: the library depends on nothing/,
  ],
  [
    'jose outside of the credentials',
    { 'library/src/sessions.ts': `${opening}import * as jose from 'jose'` },
    /^library\/src\/sessions\.ts imports npm:jose/,
  ],
  [
    'fast-check outside of the contracts',
    { 'library/src/index.ts': `${opening}import fc, { type Arbitrary } from 'fast-check'` },
    /^library\/src\/index\.ts imports npm:fast-check/,
  ],
  [
    'the library leaving its sources',
    { 'library/src/index.ts': `${opening}import { fixture } from '../test/fixture.ts'` },
    /^library\/src\/index\.ts imports library\/test\/fixture\.ts/,
  ],
  [
    'a file that has no place',
    { 'library/src/plugins/a.ts': `${opening}import '../errors.ts'` },
    /^library\/src\/plugins\/a\.ts imports library\/src\/errors\.ts: library\/src\/plugins\/a\.ts is in no row/,
  ],
  [
    'the service reaching into the library',
    { 'service/src/app.ts': `import { policy } from '../../library/src/policy.ts'` },
    /^service\/src\/app\.ts imports library\/src\/policy\.ts: the library by its public paths only/,
  ],
  [
    'an example going round the public paths',
    { 'examples/shop/app.ts': `import { policy } from 'holdfast/src/policy.ts'` },
    /^examples\/shop\/app\.ts imports npm:holdfast\/src\/policy\.ts: the library by its public paths only/,
  ],
  [
    'an example that needs another example',
    { 'examples/shop/app.ts': `import { app } from '../express/app.ts'` },
    /^examples\/shop\/app\.ts imports examples\/express\/app\.ts: leaves examples\/shop/,
  ],
  ['a vague file', { 'service/src/http-utils.ts': '' }, /^service\/src\/http-utils\.ts: .* says 'utils'/],
  [
    'a vague name',
    { 'library/src/sessions.ts': `${opening}export class SessionManager {}` },
    /^library\/src\/sessions\.ts: 'SessionManager' says 'Manager'/,
  ],
  [
    'a barrel',
    { 'library/src/transport/index.ts': `${opening}export { a } from './transport.ts'` },
    /^library\/src\/transport\/index\.ts: a barrel/,
  ],
  [
    'a file too long to read',
    { 'service/src/app.ts': 'x\n'.repeat(401) },
    /^service\/src\/app\.ts: 401 lines, at most 400/,
  ],
  [
    'a central interface too long to remember',
    { 'library/src/store.ts': `${opening}export interface Store {\n${'  /** a */\n  a: 1\n'.repeat(31)}}\n` },
    /^library\/src\/store\.ts: Store has 31 lines, at most 30/,
  ],
  [
    'a file that does not say what it is for',
    { 'library/src/roles.ts': 'export const a = 1\n' },
    /^library\/src\/roles\.ts: does not open with a line/,
  ],
  [
    'a store without its contract',
    {
      'library/src/stores/etcd.ts': opening,
      'library/test/stores/etcd.test.ts': `import { etcdStore } from '../../src/stores/etcd.ts'`,
    },
    /^library\/src\/stores\/etcd\.ts: no line of library\/test\/ runs testStore\(\) on it/,
  ],
]

for (const [what, sources, expected] of plants) {
  test(`it would notice ${what}`, () => {
    const found = violations(sources)
    assert.equal(found.length, 1, found.join('\n'))
    assert.match(found[0]!, expected)
  })
}

test('what the table allows is let through', () => {
  const allowed: Sources = {
    'library/src/index.ts': `${opening}export { redisStore } from './stores/redis.ts'`,
    'library/src/credentials/signed.ts': `${opening}import * as jose from 'jose'\nimport { sha256 } from '#crypto'`,
    'library/src/adapters/express.ts': `${opening}import type { Request } from 'express'\nimport type {\n  Sessions,\n} from '../sessions.ts'`,
    'library/src/internal/crypto.node.ts': `${opening}import { hash } from 'node:crypto'\nexport const base64url = 1`,
    'library/src/stores/redis.ts': `${opening}/**\n * import('redis') is up to you.\n */\nimport type { Store } from '../store.ts'`,
    'library/test/stores/redis.test.ts': `import { redisStore } from 'holdfast/stores/redis'\nimport { startRedis } from '../../../scripts/servers/redis.ts'\ntestStore(test, redisStore)`,
    'service/src/app.ts': `import { createSessions } from 'holdfast'\nimport { routes } from './routes.ts'`,
  }
  assert.deepEqual(violations(allowed), [])
})
