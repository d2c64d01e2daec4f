// Settings and surroundings that are wrong: one clear line each, exit code 1, and nothing listens.
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { startRedis } from '../../scripts/servers/redis.ts'
import { adminSecret as readAdminSecret, adminSecretFile } from '../src/data-folder.ts'
import { parseFeedUrl } from '../src/engines/feed-url.ts'
import { openEngine } from '../src/engines/engine.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { ensureFormat, format, formatMarkId, readFormat } from '../src/format.ts'
import { readSettings } from '../src/settings.ts'
import { StartError } from '../src/start-error.ts'
import { adminSecret, holdfast, keepSecret, serve } from './service.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-start-up-'))
after(() => rmSync(folder, { recursive: true }))

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    readSettings(env)
  } catch (error) {
    assert.ok(error instanceof StartError)
    return error.problems
  }
  return []
}

it('makes the data folder for the store also when the secret is a setting', async () => {
  const service = await serve({ HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_DATA: join(folder, 'made', 'here') })
  await service.end()
  assert.ok(readdirSync(join(folder, 'made', 'here')).includes('holdfast.db'))
})

describe('settings', () => {
  const wrong: readonly (readonly [name: string, ...values: string[]])[] = [
    ['HOLDFAST_PORT', '65536', '-1', 'x', '4000x', '1e3', ' 4000'],
    ['HOLDFAST_HOST', 'two words', 'http://x', 'a/b'],
    [
      'HOLDFAST_STORE',
      'postgres://h',
      'sqlite:',
      'sqlite://x',
      'sqlite::memory:',
      'sqlite:file:x?mode=memory',
      'redis://',
      'redis://h/name',
      'redis://h?x=1',
      'redis:h',
      'memory:x',
      'x',
      'redis+cluster://',
      'redis+cluster://h',
      'redis+cluster://h:1/0',
      'redis+sentinel://h:1',
      'redis+sentinel://h:99999/m',
      'redis://:%@h',
    ],
    [
      'HOLDFAST_FEED',
      'memory:x',
      'sqlite:x.db',
      'redis://',
      'nats://',
      'postgres://h',
      'postgres://h/',
      'postgres://:%@',
      'postgres:/x',
    ],
    ['HOLDFAST_SECRET', 'short', 'x'.repeat(31), `${'x'.repeat(32)} `],
    [
      'HOLDFAST_ISSUER',
      'sessions.example',
      'ftp://h',
      'https://h?x',
      'https://h#x',
      'https://u@h',
      'https://h /',
      'https://',
    ],
    ['HOLDFAST_AUDIENCE', 'a b', 'é', 'x'.repeat(513)],
    ['HOLDFAST_ACCESS_TOKEN', '5', '9s', '25h', '0m'],
    ['HOLDFAST_MAX_STALENESS', '1', '499ms', '61s', '-1s'],
    ['HOLDFAST_ADMIN_SECRET', 'short', 'x'.repeat(31), 'x'.repeat(257), `${'x'.repeat(32)} `, 'é'.repeat(32)],
    ['HOLDFAST_IDLE', '30', '0m', '-1m', '30 m', '1y', '401d', '500ms', '1e3s', '13h'],
    ['HOLDFAST_ABSOLUTE', '12', '', '29m'].filter((value) => value !== '') as [string, ...string[]],
    ['HOLDFAST_REMEMBER_IDLE', 'x', '31d'],
    ['HOLDFAST_REMEMBER_ABSOLUTE', 'x', '13d'],
    ['HOLDFAST_LOG', 'debug', 'INFO'],
  ]
  for (const [name, ...values] of wrong) {
    it(`names ${name} when it is wrong`, () => {
      for (const value of values) {
        const problems = problemsOf({ [name]: value })
        assert.equal(problems.length, 1, value)
        assert.ok(problems[0]!.includes(name), problems[0])
      }
    })
  }

  it('names all that is wrong at once, and the nearest to what there is not', () => {
    const problems = problemsOf({
      HOLDFAST_PORT: 'x',
      HOLDFAST_STRE: 'memory:',
      HOLDFAST_IDLE: 'x',
      HOLDFAST_FROBNICATE: '1',
      PATH: '/bin',
    })
    assert.equal(problems.length, 4)
    assert.ok(
      problems.some(
        (problem) => problem.startsWith('HOLDFAST_STRE: ') && problem.includes('did you mean HOLDFAST_STORE?'),
      ),
    )
    assert.ok(
      problems.some((problem) => problem.startsWith('HOLDFAST_FROBNICATE: ') && problem.includes('HOLDFAST_DATA')),
    )
  })

  it('has the defaults that it documents, and takes an empty variable as unset', () => {
    const settings = readSettings({ HOLDFAST_PORT: '' })
    assert.deepEqual([settings.port, settings.host, settings.adminSecret], [4000, '127.0.0.1', null])
    assert.equal(settings.dataFolder, join(process.cwd(), '.holdfast'))
    assert.deepEqual(
      settings.store.kind === 'sqlite' && settings.store.path,
      join(process.cwd(), '.holdfast/holdfast.db'),
    )
    assert.deepEqual(settings.lifetime, { idle: '30m', absolute: '12h', remember: { idle: '14d', absolute: '30d' } })
  })

  it('signs by its own URL unless told otherwise, character by character', () => {
    const issued = (env: Record<string, string>) => {
      const { issuer, audience } = readSettings(env)
      return [issuer, audience]
    }
    assert.deepEqual(issued({}), ['http://127.0.0.1:4000', 'http://127.0.0.1:4000'])
    assert.deepEqual(issued({ HOLDFAST_HOST: '::', HOLDFAST_PORT: '80' }), ['http://[::1]:80', 'http://[::1]:80'])
    const issuer = 'https://Sessions.example/a/'
    assert.deepEqual(issued({ HOLDFAST_ISSUER: issuer }), [issuer, issuer])
    assert.deepEqual(issued({ HOLDFAST_ISSUER: issuer, HOLDFAST_AUDIENCE: 'shop' }), [issuer, 'shop'])
  })

  it('has no feed in memory where others may end sessions in the store', () => {
    assert.equal(readSettings({ HOLDFAST_STORE: 'memory:', HOLDFAST_FEED: 'memory:' }).feed?.kind, 'memory')
    for (const store of ['sqlite:x.db', 'redis://h:1']) {
      const problems = problemsOf({ HOLDFAST_STORE: store, HOLDFAST_FEED: 'memory:' })
      assert.equal(problems.length, 1)
      assert.match(problems[0]!, /^HOLDFAST_FEED: memory: .*leave it unset/)
    }
  })

  it('wants a feed by name where the store has none, beside all else that is wrong', () => {
    for (const HOLDFAST_STORE of ['dynamodb://eu-west-1/sessions', 'mongodb://h/d']) {
      const problems = problemsOf({ HOLDFAST_STORE, HOLDFAST_PORT: 'x', HOLDFAST_FEED: '' })
      assert.match(problems.join('\n'), /^HOLDFAST_PORT: .*\nHOLDFAST_FEED: this store has no feed of its own/)
      assert.deepEqual(problemsOf({ HOLDFAST_STORE, HOLDFAST_FEED: 'redis://h' }), [])
    }
  })

  it('never shows the password of a store or a feed, nor a secret', () => {
    for (const url of [
      'redis://user:hunter2@h:1',
      'rediss://:hunter2@h:1/2',
      'redis+cluster://u:hunter2@a:1,b:2',
      'redis+sentinel://:hunter2@a:1/m',
    ]) {
      assert.ok(!parseStoreUrl(url).shown.includes('hunter2'))
    }
    for (const value of [
      'redis://u:hunter2@',
      'redis://u:hunter2@h/x',
      'redis+cluster://u:hunter2@h',
      'redis+sentinel://u:hunter2/name',
      'redis+cluster://u:hunter2,b:2',
      'redid://u:hunter2@h',
      'redis://u:hunter2%@h',
    ]) {
      assert.ok(!problemsOf({ HOLDFAST_STORE: value }).join().includes('hunter2'), value)
    }
    for (const value of [
      'postgres://u:hunter2@h',
      'postgres://u:hunter2@h/',
      'postgress://u:hunter2@h/x',
      'redis://u:hunter2@',
    ]) {
      assert.ok(!problemsOf({ HOLDFAST_FEED: value }).join().includes('hunter2'), value)
    }
    assert.ok(!parseFeedUrl('postgres://u:hunter2@h/x').shown.includes('hunter2'))
    for (const name of ['HOLDFAST_ADMIN_SECRET', 'HOLDFAST_SECRET']) {
      assert.ok(
        !problemsOf({ [name]: 'hunter2' })
          .join()
          .includes('hunter2'),
      )
    }
  })

  it('reads how many replicas must have a write', () => {
    for (const url of ['redis://h:1', 'redis+cluster://a:1,b:2', 'redis+sentinel://a:1/m']) {
      const replicasOf = (text: string) => (parseStoreUrl(text) as { replicas: number }).replicas
      assert.deepEqual([replicasOf(url), replicasOf(`${url}?replicas=2`)], [0, 2])
      for (const wrong of ['?replicas=0', '?replicas=10', '?replicas=', '?other=1', '?replicas=1&db=2'])
        assert.throws(() => parseStoreUrl(url + wrong), url + wrong)
    }
  })

  it('takes no parameter of a store that nobody would read', () => {
    const problem = (url: string) => problemsOf({ HOLDFAST_STORE: url }).join()
    assert.match(
      problem('postgres://h/d?replicas=2'),
      /^HOLDFAST_STORE: .*is for Redis.*\(synchronous_standby_names\)$/,
    )
    assert.match(problem('mysql://h/d?replicas=2'), /is for Redis.*\(semi-synchronous replication\)$/)
    assert.match(problem('nats://h?replicas=2'), /is for Redis/)
    assert.match(problem('postgres://h/d?sslmod=require'), /there are: sslmode, sslrootcert/)
    assert.match(problem('mysql://h/d?ssl=true&sslmode=require'), /there are: ssl$/)
    assert.match(problem('dynamodb://eu-west-1/d?x=1'), /there are: none$/)
    for (const url of [
      'postgres://u@h:1,[::1]:2/d?sslmode=verify-full&sslrootcert=/ca.pem&application_name=a&options=-c%20x%3D1',
      'mysql://u@h/d?ssl=true',
      'mysql://u@h/d?ssl=%7B%22rejectUnauthorized%22%3Atrue%7D',
      'mongodb://h/d?replicaSet=rs',
      'dynamodb+http://127.0.0.1:8000/sessions',
    ]) {
      assert.equal(parseStoreUrl(url).shown.includes('?'), false)
    }
  })

  it('says which URL may have been meant', () => {
    const problem = (url: string) => problemsOf({ HOLDFAST_STORE: url, HOLDFAST_FEED: 'redis://h' }).join()
    assert.match(problem('postgress://h/d'), /did you mean postgres:\? .*postgresql:\/\/.*mariadb:\/\//)
    assert.match(problem('dynamodb://sessions'), /expected dynamodb:\/\/<region>\/<table>$/)
    assert.match(problem('mysql://h/d?ssl=yes'), /expected \?ssl=true/)
    assert.match(problem('postgres://h:99999/d'), /ports of up to 65535/)
    assert.doesNotMatch(problem('postgres://u:hunter2/d'), /hunter2/)
    assert.match(problemsOf({ HOLDFAST_FEED: 'reddis://h' }).join(), /did you mean redis:/)
  })

  it('reads the nodes of clusters and sentinels', () => {
    assert.deepEqual(parseStoreUrl('rediss+sentinel://u:p%40ss@a:26379,[::1]:26380/main'), {
      kind: 'redis-sentinel',
      replicas: 0,
      nodes: [
        { host: 'a', port: 26_379 },
        { host: '::1', port: 26_380 },
      ],
      tls: true,
      username: 'u',
      password: 'p@ss',
      name: 'main',
      shown: 'rediss+sentinel://a:26379,[::1]:26380/main',
    })
  })
})

describe('holdfast serve exits with 1 and one clear line for each problem', () => {
  function refusal(env: Record<string, string>): string[] {
    const { code, out, err } = holdfast(['serve'], { HOLDFAST_DATA: join(folder, 'data'), HOLDFAST_PORT: '0', ...env })
    assert.equal(code, 1, err)
    assert.equal(out, '')
    const lines = err.trimEnd().split('\n')
    assert.ok(
      lines.every((line) => line.startsWith('holdfast: ')),
      err,
    )
    return lines
  }

  it('when settings are wrong or unknown', () => {
    const lines = refusal({ HOLDFAST_PORT: '99999', HOLDFAST_IDEL: '5m' })
    assert.equal(lines.length, 2)
    assert.match(lines.join('\n'), /HOLDFAST_IDEL.*HOLDFAST_IDLE[^]*HOLDFAST_PORT/)
  })

  it('when the port is taken', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await once(holder, 'listening')
    const { port } = holder.address() as AddressInfo
    const [line, ...more] = refusal({ HOLDFAST_PORT: String(port) })
    holder.close()
    assert.deepEqual(more, [])
    assert.match(line!, new RegExp(`HOLDFAST_PORT: port ${port} .*taken.*set HOLDFAST_PORT`))
  })

  it('when the address is not of this machine', () => {
    assert.match(
      refusal({ HOLDFAST_HOST: '192.0.2.1' })[0]!,
      /HOLDFAST_HOST: 192\.0\.2\.1 is no address of this machine/,
    )
  })

  it('when the data folder can not be written', () => {
    const file = join(folder, 'a-file')
    writeFileSync(file, '')
    const [line, ...more] = refusal({ HOLDFAST_DATA: join(file, 'data') })
    assert.deepEqual(more, [])
    assert.match(line!, /HOLDFAST_DATA: the folder .* can't be written to \(ENOTDIR\): .*set HOLDFAST_DATA/)
  })

  it('when the SQLite file can not be used', () => {
    const [line] = refusal({ HOLDFAST_STORE: `sqlite:${join(folder, 'no', 'such', 'folder.db')}` })
    assert.match(line!, /HOLDFAST_STORE: the file .*ENOENT/)
    const other = join(folder, 'other.db')
    writeFileSync(other, 'this is no database, but it is long enough to be looked at as one'.repeat(100))
    assert.match(refusal({ HOLDFAST_STORE: `sqlite:${other}` })[0]!, /HOLDFAST_STORE: .* is not an SQLite file/)
  })

  it('when Redis can not be reached', async () => {
    for (const url of [
      'redis://:hunter2@127.0.0.1:1',
      'redis+cluster://:hunter2@127.0.0.1:1',
      'redis+sentinel://:hunter2@127.0.0.1:1/main',
    ]) {
      const [line, ...more] = refusal({ HOLDFAST_STORE: url })
      assert.deepEqual(more, [])
      assert.match(line!, /HOLDFAST_STORE: Redis at \S+127\.0\.0\.1:1\b\S* can't be reached \([^)]+\): see that/)
      assert.ok(!line!.includes('hunter2'))
    }
  })

  it('when fewer replicas of a Redis confirm than the URL asks for', async () => {
    const redis = await startRedis()
    const [line, ...more] = refusal({ HOLDFAST_STORE: `${redis.url}?replicas=1` })
    await redis.stop()
    assert.deepEqual(more, [])
    assert.match(
      line!,
      /HOLDFAST_STORE: \?replicas=1 asks for 1 replica and 0 confirmed: add .*, or take \?replicas away/,
    )
  })

  it('when Redis has no TLS where its URL says so', async () => {
    const redis = await startRedis()
    const [line] = refusal({ HOLDFAST_STORE: redis.url.replace('redis:', 'rediss:') })
    await redis.stop()
    assert.match(line!, /HOLDFAST_STORE: Redis at rediss:\S+ can't be reached .* that it is Redis with TLS$/)
  })

  it('when the keys in the store were encrypted with another secret', async () => {
    const env = { HOLDFAST_STORE: `sqlite:${join(folder, 'keys.db')}`, HOLDFAST_ADMIN_SECRET: adminSecret }
    const service = await serve(env)
    await service.end()
    const [line, ...more] = refusal({ ...env, HOLDFAST_SECRET: 'another-secret-than-the-one-before-it' })
    assert.deepEqual(more, [])
    assert.match(line!, /HOLDFAST_SECRET: the signing keys .* another secret: give all replicas the same/)
  })

  it('when the feed can not be reached', async () => {
    for (const url of ['redis://:hunter2@127.0.0.1:1', 'postgres://u:hunter2@127.0.0.1:1/x']) {
      const [line, ...more] = refusal({ HOLDFAST_FEED: url })
      assert.deepEqual(more, [])
      assert.match(line!, /HOLDFAST_FEED: \S+ at \S+:1\b\S* can't be reached/)
      assert.ok(!line!.includes('hunter2'))
    }
  })

  it('when the admin secret in the data folder is none', () => {
    const data = mkdtempSync(join(folder, 'secret-'))
    writeFileSync(join(data, 'admin-secret'), 'short\n')
    assert.match(refusal({ HOLDFAST_DATA: data })[0]!, /admin-secret holds no secret/)
  })
})

describe('with a Redis that asks for a password', () => {
  let redis: Awaited<ReturnType<typeof startRedis>>
  before(async () => {
    redis = await startRedis({ settings: { requirepass: 'hunter2' } })
  })
  after(() => redis.stop())
  const start = (url: string) =>
    holdfast(['serve'], {
      HOLDFAST_STORE: url,
      HOLDFAST_PORT: '0',
      HOLDFAST_ADMIN_SECRET: adminSecret,
      HOLDFAST_DATA: join(folder, 'none'),
    })

  it('says that there must be one, or that it is wrong', () => {
    const without = start(redis.url)
    assert.equal(without.code, 1)
    assert.match(
      without.err,
      /^holdfast: HOLDFAST_STORE: Redis at redis:\/\/127\S+ asks for a password: put it into the URL[^\n]*\n$/,
    )
    const wrong = start(redis.url.replace('//', '//:not-it@'))
    assert.equal(wrong.code, 1)
    assert.match(
      wrong.err,
      /^holdfast: HOLDFAST_STORE: Redis at \S+ does not accept the user name or password[^\n]*\n$/,
    )
    assert.ok(!wrong.err.includes('not-it'))
  })

  it('runs with the right one, which it never shows', async () => {
    const service = await serve({
      HOLDFAST_STORE: redis.url.replace('//', '//:hunter2@'),
      HOLDFAST_ADMIN_SECRET: adminSecret,
    })
    await service.start()
    assert.equal(await service.end(), 0)
    assert.ok(!service.output().includes('hunter2'))
  })
})

describe('a store of a newer format', () => {
  for (const kind of ['sqlite', 'redis'] as const) {
    it(`is refused on ${kind}, with what to do`, async () => {
      const redis = kind === 'redis' ? await startRedis() : null
      const url = redis?.url ?? `sqlite:${join(folder, 'newer.db')}`
      const engine = await openEngine(parseStoreUrl(url))
      await ensureFormat(engine.clients)
      const mark = await engine.clients.get(formatMarkId)
      assert.equal(new Date(mark!.expiresAt).getUTCFullYear(), 9999)
      await engine.clients.put({ ...mark!, identity: '{"format":3}', version: 2 }, 1)
      await engine.close()
      const env = { HOLDFAST_STORE: url, HOLDFAST_DATA: join(folder, 'newer'), HOLDFAST_PORT: '0' }
      for (const args of [['serve'], ['clients', 'list']]) {
        const { code, err } = holdfast(args, env)
        assert.equal(code, 1)
        assert.match(
          err,
          /^holdfast: HOLDFAST_STORE: the store was written by a newer Holdfast \(format 3; this one knows 2\): upgrade[^\n]*\n$/,
        )
      }
      await redis?.stop()
    })
  }
})

it('marks a store of an older format as its own', async () => {
  const url = `sqlite:${join(folder, 'older.db')}`
  const engine = await openEngine(parseStoreUrl(url))
  await ensureFormat(engine.clients)
  const mark = await engine.clients.get(formatMarkId)
  await engine.clients.put({ ...mark!, identity: '{"format":1}', version: 2 }, 1)
  await Promise.all([ensureFormat(engine.clients), ensureFormat(engine.clients)])
  assert.equal(await readFormat(engine.clients), format)
  await engine.close()
})

describe('the data folder', () => {
  it('is made, and the secret in it, for their owner alone, once', () => {
    const data = join(folder, 'fresh', 'data')
    const settings = { adminSecret: null, dataFolder: data }
    const secret = readAdminSecret(settings)
    assert.match(secret, /^[\w-]{43}$/)
    assert.equal(readAdminSecret(settings), secret)
    assert.equal(statSync(data).mode & 0o777, 0o700)
    assert.equal(statSync(adminSecretFile(settings)).mode & 0o777, 0o600)
    assert.deepEqual(readdirSync(data), ['admin-secret'])
  })

  it('is not made when nothing would lie in it', async () => {
    const service = await serve({
      HOLDFAST_STORE: 'memory:',
      HOLDFAST_ADMIN_SECRET: adminSecret,
      HOLDFAST_SECRET: '',
      HOLDFAST_DATA: join(folder, 'unused'),
    })
    assert.equal(await service.end(), 0)
    assert.equal(statSync(join(folder, 'unused'), { throwIfNoEntry: false }), undefined)
    assert.match(service.output(), /"level":"warn"[^\n]*lost when the service stops/)
  })

  it('holds all that a service on SQLite writes, and none of it for others', async () => {
    const data = join(folder, 'all')
    const service = await serve({ HOLDFAST_DATA: data, HOLDFAST_SECRET: '' })
    for (const file of ['admin-secret', 'secret']) keepSecret(readFileSync(join(data, file), 'utf8').trim())
    for (const file of readdirSync(data)) assert.equal(statSync(join(data, file)).mode & 0o077, 0, file)
    assert.ok(service.welcome.includes(join(data, 'admin-secret')))
    assert.equal(await service.end(), 0)
  })
})
