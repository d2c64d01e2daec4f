// A TCP proxy between two parts of the system: the link that is cut, goes dark or becomes slow.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface Proxy {
  readonly port: number
  /** Resets every connection and refuses new ones. */
  cut(): void
  /** Connections stay open, new ones are accepted, and nothing arrives; what was sent comes late, as TCP does it. */
  blackhole(): void
  /** What comes back takes so many ms longer. */
  delay(ms: number): void
  heal(): void
  close(): void
}

export async function startProxy(targetPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>()
  let state: 'open' | 'cut' | 'dark' = 'open'
  let delayMs = 0

  const server = createServer((near) => {
    if (state === 'cut') return void near.resetAndDestroy()
    const far = connect(targetPort, '127.0.0.1')
    join(near, far, false)
    join(far, near, true)
  })

  function join(from: Socket, to: Socket, delayed: boolean): void {
    /** Each timer sends the oldest, so nothing overtakes what is under way. */
    const late: Buffer[] = []
    let lastAt = 0
    sockets.add(from)
    from.setNoDelay(true)
    if (state === 'dark') from.pause()
    from.on('data', (chunk) => {
      const now = performance.now()
      lastAt = Math.max(lastAt, now + (delayed ? delayMs : 0))
      if (late.length === 0 && lastAt <= now) return forward(to, chunk)
      late.push(chunk)
      setTimeout(() => forward(to, late.shift()!), lastAt - now)
    })
    from.on('end', () => to.end())
    from.on('error', () => to.destroy())
    from.on('close', () => {
      sockets.delete(from)
      to.destroy()
    })
  }

  function forward(to: Socket, chunk: Buffer): void {
    if (!to.destroyed) to.write(chunk)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.unref()
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      state = 'cut'
      for (const socket of sockets) socket.resetAndDestroy()
    },
    blackhole() {
      state = 'dark'
      for (const socket of sockets) socket.pause()
    },
    delay(ms) {
      delayMs = ms
    },
    heal() {
      state = 'open'
      delayMs = 0
      for (const socket of sockets) socket.resume()
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
