// The contract on NATS: one server, and a cluster of three.
import { test } from 'node:test'
import { natsFeed, natsFeedStream } from 'holdfast/feeds/nats'
import { testFeed } from 'holdfast/testing'
import { onNats } from '../nats-fixtures.ts'

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
