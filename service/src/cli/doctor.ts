// `holdfast doctor`: what is wrong with this installation, and what to do about each finding.
import { statSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { ConfigError } from 'holdfast'
import { adminSecretFile, keptKeySecret, secretFile } from '../data-folder.ts'
import { memoryFeed } from 'holdfast/feeds/memory'
import { openEngine, openFeed, type Engine, type Finding } from '../engines/engine.ts'
import { checkFormat, format, readFormat } from '../format.ts'
import { oldestNode, runsOn } from '../node-version.ts'
import { readSettings, type Settings } from '../settings.ts'
import { StartError } from '../start-error.ts'
import { openKeyring, wrongSecret } from '../tokens.ts'
import { print, type Command } from './command.ts'

export const doctor: Command = {
  summary: 'check the installation, and say what to do',
  help: `holdfast doctor [--json]

Checks settings, Node, the data folder and the secrets (who can read them), the feed, the store (reachable, how fast, its
format, whether it may drop sessions) and its clock. Changes nothing. Exits with 1 when something wants to be done.`,

  async run(args) {
    const { values } = parseArgs({ args: [...args], options: { json: { type: 'boolean' } } })
    const findings = await examine(process.env)
    if (values.json === true) print(JSON.stringify(findings, null, 2))
    else for (const finding of findings) print(described(finding))
    return findings.every(({ ok }) => ok) ? 0 : 1
  },
}

function described({ what, ok, found, advice }: Finding): string {
  return `${ok ? 'ok ' : '!! '} ${what}: ${found}${advice === null ? '' : `\n      ${advice}`}`
}

/** All that can be told; what depends on something that is wrong is left out. */
export async function examine(env: NodeJS.ProcessEnv): Promise<readonly Finding[]> {
  const findings: Finding[] = [nodeVersion()]
  let settings: Settings
  try {
    settings = readSettings(env)
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    return [...findings, ...error.problems.map((problem) => wrong('setting', ...splitAdvice(problem)))]
  }
  findings.push(right('settings', `store ${settings.store.shown}, address ${settings.host}:${settings.port}`))
  findings.push(...folder(settings))
  findings.push(...(await store(settings)))
  return findings
}

function nodeVersion(): Finding {
  const { version } = process
  return runsOn(version)
    ? right('Node', version)
    : wrong('Node', version, `Holdfast runs on Node ${oldestNode} or newer: upgrade it`)
}

function folder(settings: Settings): Finding[] {
  const { dataFolder } = settings
  const findings = [mode('data folder', dataFolder, 'folder')]
  if (settings.adminSecret === null) findings.push(mode('admin secret', adminSecretFile(settings), 'file'))
  if (settings.secret === null) findings.push(mode('secret of the keys', secretFile(settings), 'file'))
  return findings
}

/** Neither the group nor others may do anything with it. */
function mode(what: string, path: string, kind: 'folder' | 'file'): Finding {
  let found: number
  try {
    const stats = statSync(path)
    if (!(kind === 'folder' ? stats.isDirectory() : stats.isFile())) {
      return wrong(what, `${path} is no ${kind}`, 'remove it, or name another folder with HOLDFAST_DATA')
    }
    found = stats.mode & 0o777
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return right(what, `${path} is made when it is first wanted`)
    return wrong(
      what,
      `${path} can't be looked at (${code})`,
      'name another folder with HOLDFAST_DATA, or make it accessible',
    )
  }
  const shown = `${found.toString(8).padStart(4, '0')} ${path}`
  if ((found & 0o077) === 0) return right(what, shown)
  return wrong(
    what,
    shown,
    `others on this machine can read or change it: chmod ${kind === 'folder' ? 700 : 600} '${path}'`,
  )
}

async function store(settings: Settings): Promise<readonly Finding[]> {
  const { store: url } = settings
  if (url.kind === 'sqlite' && statSync(url.path, { throwIfNoEntry: false }) === undefined) {
    return [right('store', `${url.path} is made when the service starts`)]
  }
  let engine: Engine
  try {
    engine = await openEngine(url)
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    return error.problems.map((problem) => wrong('store', ...splitAdvice(problem)))
  }
  try {
    return [
      await roundTrip(engine),
      await storeFormat(engine),
      ...(await engine.inspect()),
      await feed(settings, engine),
      ...(await signingKeys(settings, engine)),
    ]
  } catch (error) {
    return [
      wrong('store', `failed while it was examined: ${(error as Error).message}`, 'see that it runs, then ask again'),
    ]
  } finally {
    await engine.close()
  }
}

const asks = 5
const slowMs = 20

async function roundTrip({ sessions }: Engine): Promise<Finding> {
  const times: number[] = []
  for (let i = 0; i < asks; i++) {
    const began = performance.now()
    await sessions.get('A'.repeat(22))
    times.push(performance.now() - began)
  }
  const median = times.toSorted((a, b) => a - b)[asks >> 1]!
  const shown = `answers, in ${median.toFixed(2)} ms`
  if (median <= slowMs) return right('store', shown)
  return wrong(
    'store',
    shown,
    'every request waits that long: bring the store nearer, or see what else it is busy with',
  )
}

/** Whether a read of it is answered. Nothing is written. */
async function feed({ feed: url, store: { kind } }: Settings, engine: Engine): Promise<Finding> {
  const where = url === null || url.kind === 'memory' ? `that of the store (${kind})` : url.shown
  try {
    const open = await openFeed(url, engine)
    const { signal } = new AbortController()
    const steps = open.feed.follow({ signal, now: () => performance.now() })[Symbol.asyncIterator]()
    try {
      const began = performance.now()
      await steps.next()
      return right('feed', `${where} answers, in ${(performance.now() - began).toFixed(2)} ms`)
    } finally {
      await steps.return?.()
      await open.close()
    }
  } catch (error) {
    if (error instanceof StartError) return wrong('feed', ...splitAdvice(error.message))
    return wrong('feed', `${where} fails: ${(error as Error).message}`, 'see that it runs, then ask again')
  }
}

/** Whether the secret opens those in the store. Nothing is written; without a secret there are none yet. */
async function signingKeys(settings: Settings, engine: Engine): Promise<readonly Finding[]> {
  const secret = keptKeySecret(settings)
  if (secret === null) return []
  try {
    const keys = await openKeyring(secret, engine, engine.feed ?? memoryFeed(), () => {}).list()
    return [
      right('signing keys', keys.length === 0 ? 'are made when the service starts' : `${keys.length} in the store`),
    ]
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return [wrong('signing keys', ...splitAdvice(wrongSecret(error).message))]
  }
}

async function storeFormat({ clients }: Engine): Promise<Finding> {
  const found = await readFormat(clients)
  if (found === null) return right('format', 'none yet; it is marked when the service starts')
  try {
    checkFormat(found)
  } catch (error) {
    return wrong('format', ...splitAdvice((error as Error).message))
  }
  return right('format', `${found} (this Holdfast knows ${format})`)
}

function right(what: string, found: string): Finding {
  return { what, ok: true, found, advice: null }
}

function wrong(what: string, found: string, advice: string | null): Finding {
  return { what, ok: false, found, advice }
}

/** What went wrong and what to do stand on both sides of the last colon with a space. */
function splitAdvice(problem: string): [found: string, advice: string | null] {
  const at = problem.lastIndexOf(': ')
  return at === -1 ? [problem, null] : [problem.slice(0, at), problem.slice(at + 2)]
}
