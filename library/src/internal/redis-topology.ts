// Seeing to it that a Cluster's client finds new primaries also where nothing tells it.

/** What `createCluster` of node-redis 6 gives, by what knows the topology. */
interface Cluster {
  readonly _slots?: { rediscover(): Promise<unknown>; readonly isOpen: boolean; destroy(): void }
}

/**
 * node-redis asks for the topology when a server redirects it or a connection breaks. A primary that was cut off does neither: while
 * commands are written its connection stays open until TCP gives up, by default a quarter of an hour. Whoever got no answer calls this;
 * while node-redis is asking already it does nothing more.
 */
export function lookAnew(client: object): void {
  // oxlint-disable-next-line eslint/no-underscore-dangle -- what node-redis calls it
  const slots = (client as Cluster)._slots
  if (slots === undefined) return
  const closed = () => {
    // One that was closed meanwhile has connected to what it learnt, and would keep the process alive (node-redis 6.3.1).
    if (!slots.isOpen) slots.destroy()
  }
  slots.rediscover().then(closed, closed)
}

export type Looking = <T>(signal: AbortSignal | undefined, call: () => Promise<T>) => Promise<T>

/**
 * Looks anew when `signal` aborts: calls that run out together share a signal, so there is one listener for all of them. And when the client knows of nobody
 * for a slot: node-redis takes a topology as it is while a primary is missing, answers with a `TypeError`, and asks nobody again.
 */
export function lookingAnew(client: object): Looking {
  if (!('_slots' in client)) return (_, call) => call()
  let last: AbortSignal | undefined
  return async (signal, call) => {
    if (signal !== last) {
      last = signal
      signal?.addEventListener('abort', () => lookAnew(client), { once: true })
    }
    try {
      return await call()
    } catch (error) {
      if (error instanceof TypeError) lookAnew(client)
      throw error
    }
  }
}
