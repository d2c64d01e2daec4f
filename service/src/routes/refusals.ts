// Tokens that opened nothing, counted against whoever presents them.
import type { FastifyRequest } from 'fastify'
import type { RefusedReason } from 'holdfast'
import type { FailureLimits } from '../http/limits.ts'

/** Rejects with a `Problem` (429) when too many forged ones came from this peer. Tokens of yesterday are no offence. */
export function countRefusal(limits: FailureLimits, reason: RefusedReason, request: FastifyRequest): Promise<void> {
  const lapsed = reason === 'unknown' || reason === 'expired'
  const { remoteAddress } = request.socket
  return lapsed ? limits.note(remoteAddress, request.client?.id) : limits.count('forged', remoteAddress)
}
