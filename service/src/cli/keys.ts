// `holdfast keys`: the keys that sign tokens.
import { parseArgs } from 'node:util'
import { ConfigError } from 'holdfast'
import type { Keyring } from 'holdfast/credentials/keyring'
import { keptKeySecret } from '../data-folder.ts'
import { StartError } from '../start-error.ts'
import { openKeyring, wrongSecret } from '../tokens.ts'
import { print, table, UsageError, type Command } from './command.ts'
import { openShared } from './open.ts'

export const keys: Command = {
  summary: 'list, rotate and retire the keys that sign tokens',
  help: `holdfast keys list              which there are, never their private parts
holdfast keys rotate            makes the next key, which signs when everybody had time to learn it
holdfast keys rotate --now      makes a key that signs at once, for when the current one may have leaked
holdfast keys retire <kid>      tokens signed with it are refused by every replica from then on

Keys rotate by themselves; this is for emergencies. Services that keep the public keys learn of a change by the feed, or
when they fetch them again. Works on the store of HOLDFAST_STORE, or the one in HOLDFAST_DATA, while the service runs.`,

  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { now: { type: 'boolean' } },
      allowPositionals: true,
    })
    const [action, kid, ...rest] = positionals
    const tooMuch = action === 'retire' ? rest : positionals.slice(1)
    if (tooMuch.length > 0) throw new UsageError(`there is too much on the line: ${tooMuch.join(' ')}`)
    if (values.now === true && action !== 'rotate') throw new UsageError('--now goes with rotate')
    switch (action) {
      case 'list':
        return withKeys(list)
      case 'rotate':
        return withKeys(async (ring) => {
          await ring.rotate({ now: values.now === true })
          return list(ring)
        })
      case 'retire':
        if (kid === undefined) throw new UsageError('the kid is missing: holdfast keys list')
        return withKeys((ring) => retire(ring, kid))
      default:
        throw new UsageError('expected list, rotate or retire')
    }
  },
}

async function list(ring: Keyring): Promise<number> {
  const rows = (await ring.list()).map(({ kid, alg, state, madeAt, signsFrom, verifiesUntil }) => {
    return [kid, alg, state, instant(madeAt), instant(signsFrom), verifiesUntil === null ? '-' : instant(verifiesUntil)]
  })
  print(table([['KEY', 'ALGORITHM', 'STATE', 'MADE', 'SIGNS FROM', 'VERIFIES UNTIL'], ...rows]))
  return 0
}

async function retire(ring: Keyring, kid: string): Promise<number> {
  if (!(await ring.retire(kid))) throw new StartError(`there is no key '${kid}': holdfast keys list`)
  print(`retired '${kid}'`)
  return 0
}

async function withKeys(work: (ring: Keyring) => Promise<number>): Promise<number> {
  const { engine, feed, settings, close } = await openShared({ make: false })
  try {
    const secret = keptKeySecret(settings)
    if (secret === null)
      throw new StartError(
        'HOLDFAST_SECRET: it is not set, and there is none in the data folder: run this where the service runs',
      )
    return await work(openKeyring(secret, engine, feed, unpublished))
  } catch (error) {
    throw error instanceof ConfigError ? wrongSecret(error) : error
  } finally {
    await close()
  }
}

function unpublished(error: unknown): void {
  const why = error instanceof Error ? error.message : String(error)
  process.stderr.write(`The keys changed, but the feed did not take it (${why}): replicas notice within a minute.\n`)
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}
