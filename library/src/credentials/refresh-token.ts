// Refresh tokens, each good once: `id.family.secret`, and what the store keeps of them.
import { seal, unseal } from '#cipher'
import { base64url, sha256 } from '#crypto'
import { bytesOf } from './base64url.ts'
import { sameText } from './same-text.ts'

type Random = (bytes: number) => Uint8Array

const form = /^([\w-]{22})\.([\w-]{22})\.([\w-]{43})$/
/** Has a dot, so that nothing opaque credentials keep looks like it. */
const mark = 's1.'

/** What the store has: hashes, and the newest secret under a key that only who holds its predecessor can make. */
interface Kept {
  /** Hash of what all refresh tokens of the session have in common, and nobody else knows. */
  readonly family: string
  /** 1, 2, 3 …: +1 with every rotation. */
  readonly generation: number
  readonly current: string
  /** The current secret, which its predecessor alone opens; empty in the first generation. */
  readonly successor: string
  readonly rotatedAt: number
}

/** The session's id in a refresh token of the right form, else `null`. */
export function idIn(token: string): string | null {
  return form.exec(token)?.[1] ?? null
}

/** Whether this is what `firstToken` and `rotateToken` keep. */
export function isKept(kept: string): boolean {
  return kept.startsWith(mark)
}

/** How many refresh tokens the session has had: 1, 2, 3 …; `null` when `kept` is of another kind. */
export function generationOf(kept: string): number | null {
  return read(kept)?.generation ?? null
}

export async function firstToken(id: string, random: Random): Promise<{ token: string; kept: string }> {
  const family = base64url(random(16))
  const secret = base64url(random(32))
  const kept = written({
    family: await sha256(family),
    generation: 1,
    current: await sha256(secret),
    successor: '',
    rotatedAt: 0,
  })
  return { token: `${id}.${family}.${secret}`, kept }
}

export type Rotated =
  | { readonly outcome: 'rotated' | 'repeated'; readonly token: string; readonly kept: string }
  | { readonly outcome: 'reused' }
  | { readonly outcome: 'mismatch' }

/**
 * What a refresh token of the right form brings at `now`. Only who knows the family can end a session by an old token: its id may be in
 * logs.
 */
export async function rotateToken(
  given: string,
  kept: string,
  windowMs: number,
  now: number,
  random: Random,
): Promise<Rotated> {
  const before = read(kept)
  const [, id, family, secret] = form.exec(given) ?? []
  if (before === null || id === undefined || family === undefined || secret === undefined)
    return { outcome: 'mismatch' }
  if (!sameText(await sha256(family), before.family)) return { outcome: 'mismatch' }
  const key = bytesOf(await sha256(`holdfast refresh successor ${secret}`))!
  const purpose = `holdfast refresh ${id}`
  if (sameText(await sha256(secret), before.current)) {
    const next = base64url(random(32))
    const after = {
      family: before.family,
      generation: before.generation + 1,
      current: await sha256(next),
      successor: await seal(key, next, purpose, random),
      rotatedAt: now,
    }
    return { outcome: 'rotated', token: `${id}.${family}.${next}`, kept: written(after) }
  }
  // A clock that was set back must not make the window longer than twice what it is.
  if (Math.abs(now - before.rotatedAt) <= windowMs) {
    const next = await unseal(key, before.successor, purpose)
    if (next !== null) return { outcome: 'repeated', token: `${id}.${family}.${next}`, kept }
  }
  return { outcome: 'reused' }
}

function written({ family, generation, current, successor, rotatedAt }: Kept): string {
  return `${mark}${[family, generation, current, successor, rotatedAt].join('.')}`
}

function read(kept: string): Kept | null {
  if (!isKept(kept)) return null
  const [family, generation, current, successor, rotatedAt] = kept.slice(mark.length).split('.')
  if (rotatedAt === undefined) return null
  return {
    family: family!,
    generation: Number(generation),
    current: current!,
    successor: successor!,
    rotatedAt: Number(rotatedAt),
  }
}
