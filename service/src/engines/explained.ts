// What the explanations of several engines have in common.
import { ConfigError, type Store } from 'holdfast'
import { StartError } from '../start-error.ts'

/** What is missing of the user and password of a URL, in parentheses and behind a space; nothing when both are there. */
export function given(url: string): string {
  const userInfo = /^[^/]+\/\/([^/?#]*)@/.exec(url)?.[1] ?? ''
  return userInfo === '' ? ' (none was given)' : userInfo.includes(':') ? '' : ' (no password was given)'
}

/** Whether the code of an error says that a certificate is not trusted, or is another server's. */
export function isUntrusted(code: string): boolean {
  return /CERT|LEAF_SIGNATURE|HOSTNAME_MISMATCH|^INVALID_(CA|PURPOSE)$/.test(code)
}

/** A `StartError` for a write at the start that fewer replicas of a Redis have than its URL asks for; any other error as it is. */
export function unreplicated(error: unknown): unknown {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const [, confirmed, wanted] = /(\d+) of (\d+) replicas confirmed/.exec(cause.message) ?? []
    if (wanted === undefined) continue
    return new StartError(
      `HOLDFAST_STORE: ?replicas=${wanted} asks for ${wanted} replica${wanted === '1' ? '' : 's'} and ${confirmed} confirmed: ` +
        `add what is missing, or take ?replicas away`,
      error,
    )
  }
  return error
}

/** Rejects with `StartError` when a newer Holdfast made one of the tables, having called `close`. */
export async function assertKnown(stores: readonly Store[], close: () => Promise<unknown>): Promise<void> {
  try {
    await Promise.all(stores.map((store) => store.get('any')))
  } catch (error) {
    await close()
    throw error instanceof ConfigError ? new StartError(`HOLDFAST_STORE: ${error.message}`, error) : error
  }
}
