// The contract on NATS: one server, and a cluster of three.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { natsFeed, natsFeedStream } from 'holdfast/feeds/nats'
import { testFeed } from 'holdfast/testing'
import { clientOf, makeStream, one, onNats } from '../nats-fixtures.ts'
import { now } from './fixtures.ts'

onNats(natsFeedStream, (name, fresh) => {
  const make = async () => {
    const { one, two, stream, close } = await fresh()
    return {
      feed: natsFeed(one.connection, one.manager, { stream }),
      another: () => natsFeed(two.connection, two.manager, { stream }),
      trim: async () => void (await one.manager.streams.purge(stream)),
      close,
    }
  }
  testFeed(name, make, { test })
})

test('whoever leaves while a read is under way gets no further step', async () => {
  const client = await clientOf((await one()).url)
  await makeStream(natsFeedStream(), client)
  const closing = new AbortController()
  let isLeaving = false
  const leaving: Parameters<typeof natsFeed>[1] = {
    streams: client.manager.streams,
    jetstream: () => ({
      async publish(...beat) {
        const written = await client.manager.jetstream().publish(...beat)
        if (isLeaving) closing.abort()
        return written
      },
    }),
  }
  for await (const _ of natsFeed(client.connection, leaving).follow({ signal: closing.signal, now })) {
    assert.ok(!closing.signal.aborted)
    isLeaving = true
  }
})
