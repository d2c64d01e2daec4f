// Whose word on the original request is taken: the proxies in HOLDFAST_TRUSTED_PROXIES, and nobody else.
import { BlockList, isIP, type Socket } from 'node:net'

/** Whether a connection comes from one of them. */
export type TrustedPeers = (socket: Socket) => boolean

/** Checks a list such as `10.0.0.0/8, 127.0.0.1, ::1`. Throws an `Error` that says what was expected. */
export function readPeers(text: string): readonly string[] {
  const peers = text.split(',').map((peer) => peer.trim())
  for (const peer of peers) {
    const [address = '', bits, ...rest] = peer.split('/')
    const most = { 0: -1, 4: 32, 6: 128 }[isIP(address) as 0 | 4 | 6]
    const isNetwork = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most)
    if (most === -1 || !isNetwork || rest.length > 0)
      throw new Error(
        `expected addresses or networks such as 10.0.0.0/8, 127.0.0.1 or ::1, with commas between; got '${peer}'`,
      )
  }
  return peers
}

/** `peers` as `readPeers` gives them. */
export function trustedPeers(peers: readonly string[]): TrustedPeers {
  const list = new BlockList()
  for (const peer of peers) {
    const [address = '', bits] = peer.split('/')
    const family = familyOf(address)
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  // A proxy keeps its connections, and their other end does not change.
  const known = new WeakMap<Socket, boolean>()

  return (socket) => {
    const before = known.get(socket)
    if (before !== undefined) return before
    // IPv4 on a socket for both.
    const address = (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/i, '')
    const isTrusted = isIP(address) !== 0 && list.check(address, familyOf(address))
    known.set(socket, isTrusted)
    return isTrusted
  }
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}
