// The feed on NATS when servers die, stand still or are cut off, and when the log is lost.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { Feed, FeedStep } from 'holdfast'
import { natsFeed, natsFeedStream } from 'holdfast/feeds/nats'
import { startNats, startNatsCluster } from '../../../scripts/servers/nats.ts'

const now = () => performance.now()
const notice = (id: string) => ({ kind: 'ended', ids: [id], reason: 'ended' }) as const

/** Whatever a test starts is stopped when it is over. */
const endings: (() => unknown)[] = []
after(async () => {
  for (const end of endings.toReversed()) await end()
})

/** Stays with the servers that it is given. */
async function clientOf(...servers: string[]) {
  const connection = await connect({
    servers,
    ignoreClusterUpdates: true,
    noAsyncTraces: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    timeout: 1_000,
  })
  endings.push(() => connection.close())
  const manager = await jetstreamManager(connection, { timeout: 1_000 })
  return { connection, manager, feed: natsFeed(connection, manager) }
}

async function one() {
  const server = await startNats()
  endings.push(server.stop)
  const client = await clientOf(server.url)
  await client.manager.streams.add(natsFeedStream())
  return { server, ...client }
}

/** Three servers: the leader of the stream, the others, and a client of each. */
async function cluster() {
  const { servers, urls, stop } = await startNatsCluster()
  endings.push(stop)
  const { manager } = await clientOf(...urls)
  const info = await manager.streams.add(natsFeedStream({ replicas: 3 }))
  const leader = servers.find(({ name }) => name === info.cluster!.leader)!
  const others = servers.filter((server) => server !== leader)
  const ofLeader = await clientOf(leader.url)
  const ofOthers = await clientOf(...others.map(({ url }) => url))
  return { leader, others, ofLeader, ofOthers }
}

/** A reader as in `createSessions`: whenever following rejects, it follows again from its last cursor. */
function reader(feed: Feed, since?: string) {
  const steps: FeedStep[] = []
  const failures: unknown[] = []
  const closing = new AbortController()
  endings.push(() => closing.abort())
  let wake = () => {}
  const follow = async () => {
    let cursor = since
    while (!closing.signal.aborted) {
      try {
        for await (const step of feed.follow({ since: cursor, signal: closing.signal, now })) {
          steps.push(step)
          cursor = step.cursor
          wake()
        }
      } catch (error) {
        failures.push(error)
        wake()
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }
  const done = follow()
  const idsOf = (some: readonly FeedStep[]) =>
    some.flatMap(({ notices }) => notices.flatMap((n) => (n.kind === 'ended' ? n.ids : [])))
  return {
    steps,
    failures,
    ids: () => idsOf(steps),
    gaps: () => steps.filter(({ gap }) => gap).length,
    /** The first step as of after `instant`, and whether `id` was read by then. */
    hadRead: (id: string, instant: number) => {
      const fresh = steps.findIndex(({ asOf }) => asOf > instant)
      return fresh >= 0 && idsOf(steps.slice(0, fresh + 1)).includes(id)
    },
    async until(what: string, isSo: () => boolean): Promise<void> {
      const timer = setTimeout(() => wake(), 30_000)
      const until = now() + 30_000
      while (!isSo()) {
        assert.ok(now() < until, `${what} did not come; the last failure: ${String(failures.at(-1))}`)
        await new Promise<void>((resolve) => (wake = resolve))
      }
      clearTimeout(timer)
    },
    async close(): Promise<void> {
      closing.abort()
      await done
    },
  }
}

/** Publishes as `createSessions` does: again, until it is written. */
async function publishSurely(feed: Feed, id: string): Promise<void> {
  for (const until = now() + 30_000; ;) {
    try {
      await feed.publish(notice(id))
      return
    } catch (error) {
      if (now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
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
    const o = { stream: 'brief', retention: '2s' } as const
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
