// Seeing to it that a Cluster's client finds new primaries also where nothing tells it.

/** What `createCluster` of node-redis 6 gives, by what knows the topology. */
interface Cluster {
  readonly _slots?: { rediscover(): Promise<unknown> }
}

/**
 * node-redis asks for the topology when a server redirects it or a connection breaks. A primary that was cut off does neither: while
 * commands are written its connection stays open until TCP gives up, by default a quarter of an hour. Whoever got no answer calls this;
 * while node-redis is asking already it does nothing more.
 */
export function lookAnew(client: object): void {
  // oxlint-disable-next-line eslint/no-underscore-dangle -- what node-redis calls it
  ;(client as Cluster)._slots?.rediscover().catch(() => {})
}

/** Looks anew when `signal` aborts. Calls that run out together share a signal, so there is one listener for all of them. */
export function lookingAnew(client: object): (signal: AbortSignal | undefined) => void {
  let last: AbortSignal | undefined
  return (signal) => {
    if (signal === last || !('_slots' in client)) return
    last = signal
    signal?.addEventListener('abort', () => lookAnew(client), { once: true })
  }
}
