// Whether the leader of a stream of NATS still leads: one that was cut off, or stood still, goes on answering reads, but it acknowledges no write.
import type { NatsLog } from './nats-log.ts'

/**
 * Resolves when a message that was added after the call is acknowledged, and so what was acknowledged before the call can be read there. All who come while one
 * is under way share the next. The one before goes, when nobody waits for it.
 */
export function natsQuorum(log: NatsLog, subject: string, bytes: Uint8Array): () => Promise<void> {
  let under: Promise<unknown> = Promise.resolve()
  let next: Promise<void> | null = null
  let last = 0

  async function beat(): Promise<void> {
    const before = last
    last = await log.add(subject, bytes)
    if (before !== 0) void log.remove(before).catch(() => {})
  }

  return () => {
    next ??= under.then(() => {
      next = null
      const beating = beat()
      under = beating.catch(() => {})
      return beating
    })
    return next
  }
}
