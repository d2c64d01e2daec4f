// Tokens that opened nothing, counted against whoever presents them.
import type { FastifyRequest } from 'fastify'
import type { RefusedReason } from 'holdfast'
import type { FailureLimits } from '../http/limits.ts'

/** Rejects with a `Problem` (429) when too many forged ones came from this peer. Tokens of yesterday are no offence. */
export function countRefusal(limits: FailureLimits, reason: RefusedReason, request: FastifyRequest): Promise<void> {
  const { remoteAddress } = request.socket
  return forged.has(reason) ? limits.count('forged', remoteAddress) : limits.note(remoteAddress, request.client?.id)
}

/** What nobody ever got from us. An unknown key may be one that was retired, with the tokens of honest users out. */
const forged: ReadonlySet<RefusedReason> = new Set(['malformed', 'duplicate', 'mismatch', 'signature'])
