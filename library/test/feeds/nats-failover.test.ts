// The feed on NATS when servers die, stand still or are cut off, and when the log is lost.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { JetStreamManager } from '@nats-io/jetstream'
import { natsFeed, natsFeedStream } from 'holdfast/feeds/nats'
import { clientOf, cluster as startCluster, makeStream, one as startOne } from '../nats-fixtures.ts'
import { notice, now, publishSurely, reader } from './fixtures.ts'

async function feedOn(...servers: string[]) {
  const client = await clientOf(servers)
  return { ...client, feed: natsFeed(client.connection, client.manager) }
}

async function one() {
  const server = await startOne()
  const client = await feedOn(server.url)
  await makeStream(natsFeedStream(), client)
  return { server, ...client }
}

/** Three servers: the leader of the stream, the others, and a client of each. */
async function cluster() {
  const { servers, urls } = await startCluster()
  const each = await Promise.all(urls.map((url) => feedOn(url)))
  const info = await makeStream(natsFeedStream({ replicas: 3 }), ...each)
  const leader = servers.find(({ name }) => name === info.cluster!.leader)!
  const others = servers.filter((server) => server !== leader)
  const ofOthers = await feedOn(...others.map(({ url }) => url))
  return { leader, others, ofLeader: each[servers.indexOf(leader)]!, ofOthers }
}

describe('a log that is lost', () => {
  const lost: Record<string, (manager: JetStreamManager) => Promise<unknown>> = {
    'by a purge': (manager) => manager.streams.purge('holdfast-feed'),
    'with its stream, which is made anew': async (manager) => {
      await manager.streams.delete('holdfast-feed')
      await manager.streams.add(natsFeedStream())
    },
    'when an earlier state of it is restored': async (manager) => {
      const mark = await manager.streams.getMessage('holdfast-feed', { last_by_subj: 'holdfast-feed.o' })
      await manager.streams.delete('holdfast-feed')
      await manager.streams.add(natsFeedStream())
      await manager.jetstream().publish('holdfast-feed.o', mark!.data)
    },
  }
  for (const [how, lose] of Object.entries(lost)) {
    test(`${how} is a gap, and what comes after it is read`, async () => {
      const { feed, manager } = await one()
      await feed.publish(notice('before'))
      const { steps, ids, gaps, until, close } = reader(feed)
      await until('the first notice', () => ids().includes('before') && steps.length > 5)
      assert.equal(gaps(), 0)
      await lose(manager)
      await until('a gap', () => gaps() > 0)
      await publishSurely(feed, 'after')
      await until('the notice after it', () => ids().includes('after'))
      assert.equal(gaps(), 1)
      await close()
    })
  }

  test('by a backup is a gap for who was away, though it has grown past their cursor again', async () => {
    const { feed, manager } = await one()
    for (let i = 0; i < 10; i++) await feed.publish(notice(`before-${i}`))
    const leaves = reader(feed)
    await leaves.until('the last notice', () => leaves.ids().includes('before-9'))
    await leaves.close()
    const lastSeq = async () => (await manager.streams.info('holdfast-feed')).state.last_seq
    const leftAt = await lastSeq()
    await lost['when an earlier state of it is restored']!(manager)
    await feed.publish(notice('missed'))
    const stays = reader(feed)
    while ((await lastSeq()) <= leftAt) {
      const read = stays.steps.length
      await stays.until('a beat', () => stays.steps.length > read)
    }
    const back = reader(feed, leaves.steps.at(-1)!.cursor)
    await back.until('a step', () => back.steps.length > 0)
    assert.equal(back.steps[0]!.gap, true)
    assert.ok(back.ids().includes('missed'))
    await Promise.all([stays.close(), back.close()])
  })

  test('by age is a gap for who was away, and for nobody else', async () => {
    const { connection, manager } = await one()
    const o = { stream: 'brief', retention: '4s' } as const
    await manager.streams.add(natsFeedStream(o))
    const feed = natsFeed(connection, manager, o)
    const stays = reader(feed)
    const leaves = reader(feed)
    await leaves.until('a step', () => leaves.steps.length > 0)
    await leaves.close()
    await feed.publish(notice('missed'))
    await stays.until('the notice', () => stays.ids().includes('missed'))
    const found = async () => manager.streams.info('brief', { subjects_filter: 'brief.n.>' })
    while (Object.keys((await found()).state.subjects ?? {}).length > 0) {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const back = reader(feed, leaves.steps.at(-1)!.cursor)
    await back.until('a step', () => back.steps.length > 0)
    assert.equal(back.steps[0]!.gap, true)
    const read = stays.steps.length
    await stays.until('more steps', () => stays.steps.length > read + 20)
    assert.equal(stays.gaps() + back.gaps(), 1)
    await Promise.all([stays.close(), back.close()])
  })
})

test('a restart of the server is no gap', async () => {
  const { server, feed } = await one()
  await feed.publish(notice('before'))
  const { ids, gaps, failures, until, close } = reader(feed)
  await until('the first notice', () => ids().includes('before'))
  await server.kill()
  await until('a failure', () => failures.length > 0)
  await server.restart()
  await publishSurely(feed, 'after')
  await until('the notice after it', () => ids().includes('after'))
  assert.equal(gaps(), 0)
  await close()
})

test('a leader that is cut off from the others gives no fresh step, and takes no notice', async () => {
  const { others, ofLeader } = await cluster()
  await ofLeader.feed.publish(notice('before'))
  const { steps, failures, ids, gaps, until, close } = reader(ofLeader.feed)
  await until('the first notice', () => ids().includes('before'))
  for (const other of others) other.pause()
  const pausedAt = now()
  await assert.rejects(ofLeader.feed.publish(notice('unheard')))
  await until('three failures', () => failures.length >= 3)
  // It still thinks that it leads, and answers.
  assert.notEqual((await ofLeader.manager.streams.info('holdfast-feed')).state.last_seq, 0)
  assert.deepEqual(
    steps.filter(({ asOf }) => asOf > pausedAt),
    [],
  )
  for (const other of others) other.resume()
  await until('a fresh step', () => steps.at(-1)!.asOf > pausedAt)
  assert.equal(gaps(), 0)
  await close()
})

test('a leader that stood still while another was chosen gives no fresh step without what it missed', async () => {
  const { leader, ofLeader, ofOthers } = await cluster()
  const old = reader(ofLeader.feed)
  const elsewhere = reader(ofOthers.feed)
  await old.until('a step', () => old.steps.length > 0)
  await elsewhere.until('a step', () => elsewhere.steps.length > 0)
  leader.pause()
  const pausedAt = now()
  await publishSurely(ofOthers.feed, 'missed')
  const publishedAt = now()
  console.log(`# the leader stood still: a notice was published again after ${Math.round(publishedAt - pausedAt)} ms`)
  await elsewhere.until('the notice', () => elsewhere.ids().includes('missed'))
  leader.resume()
  for (const { until, steps, hadRead } of [old, elsewhere]) {
    await until('a fresh step', () => steps.at(-1)!.asOf > publishedAt)
    assert.ok(hadRead('missed', publishedAt))
  }
  assert.equal(old.gaps() + elsewhere.gaps(), 0)
  await Promise.all([old.close(), elsewhere.close()])
})

test('when the leader is killed, what was published before is read, without a gap', async () => {
  const { leader, ofOthers } = await cluster()
  const published: string[] = []
  const over = new AbortController()
  const publishing = (async () => {
    for (let i = 0; !over.signal.aborted; i++) {
      try {
        await ofOthers.feed.publish(notice(`n${i}`))
        published.push(`n${i}`)
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  })()
  const { ids, gaps, failures, until, close } = reader(ofOthers.feed)
  await until('some notices', () => published.length > 20)
  await leader.kill()
  await until('a failure', () => failures.length > 0)
  const before = published.length
  await until('more notices', () => published.length > before + 20)
  over.abort()
  await publishing
  await publishSurely(ofOthers.feed, 'last')
  await until('the last notice', () => ids().includes('last'))
  const read = new Set(ids())
  assert.deepEqual(
    published.filter((id) => !read.has(id)),
    [],
  )
  assert.equal(gaps(), 0)
  await close()
})
