// Tokens that opened nothing, counted against whoever presents them.
import type { FastifyRequest } from 'fastify'
import type { RefusedReason } from 'holdfast'
import type { FailureLimits } from '../http/limits.ts'

/** Rejects with a `Problem` (429) when there were too many of its kind from this peer. */
export function countRefusal(limits: FailureLimits, reason: RefusedReason, request: FastifyRequest): Promise<void> {
  const lapsed = reason === 'unknown' || reason === 'expired'
  return limits.count(lapsed ? 'unknown' : 'forged', request.socket.remoteAddress)
}
