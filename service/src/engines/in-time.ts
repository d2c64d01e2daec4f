// A deadline for the few calls to a store that do not go through the library, which has its own.
import { StoreUnavailableError } from 'holdfast'

const deadlineMs = 500

/** Rejects with `StoreUnavailableError` when the call fails or takes longer than `ms`. */
export async function inTime<T>(call: Promise<T>, ms = deadlineMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([call, late])
  } catch (cause) {
    throw new StoreUnavailableError('the store failed', ms, cause)
  } finally {
    clearTimeout(timer)
  }
}
