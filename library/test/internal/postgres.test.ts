// A PostgreSQL server that dies while a connection is being made. No real one does so on command: this one speaks just so much of its protocol.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { postgresFeed } from 'holdfast/feeds/postgres'
import { postgresStore } from 'holdfast/stores/postgres'
import { Pool } from 'pg'

/** One message of the protocol, version 3: type, length, content. */
function message(type: string, content: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(content.length + 4, 1)
  return Buffer.concat([head, content])
}

const authenticated = message('R', Buffer.alloc(4))
const ready = message('Z', Buffer.from('I'))
const dying = message('E', Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0'))

test('a server that dies in the packet that welcomes us is an error of the call, not of the process', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(Buffer.concat([authenticated, ready, dying])))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const pool = new Pool({ host: '127.0.0.1', port, user: 'any' })
  pool.on('error', () => {})
  await assert.rejects(postgresStore(pool).get('any'))
  await assert.rejects(postgresFeed(pool).publish({ kind: 'keys' }))
  await pool.end()
  server.close()
})
