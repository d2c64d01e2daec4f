// A small TCP proxy, which can be cut or made to hold back what passes.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface Proxy {
  readonly url: string
  /** Cuts every connection, and refuses new ones. */
  cut(): void
  /** Lets nothing pass any more, with connections open. */
  hold(): void
  /** Lets pass again what is sent from now on, and what was held back. */
  mend(): void
  close(): void
}

export async function startProxy(port: number): Promise<Proxy> {
  const sockets = new Set<Socket>()
  let state: 'open' | 'held' | 'cut' = 'open'

  function keep(socket: Socket): void {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    if (state === 'held') socket.pause()
  }

  const server = createServer((near) => {
    if (state === 'cut') {
      near.destroy()
      return
    }
    const far = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (chunk) => void to.write(chunk)).on('close', () => to.destroy())
      keep(from)
    }
  })
  server.listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut() {
      state = 'cut'
      for (const socket of sockets) socket.destroy()
    },
    hold() {
      state = 'held'
      for (const socket of sockets) socket.pause()
    },
    mend() {
      state = 'open'
      for (const socket of sockets) socket.resume()
    },
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}
