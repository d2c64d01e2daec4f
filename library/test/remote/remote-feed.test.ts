// From when on the relayed feed counts: the moment a poll was sent, less what the service says.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { after, before, it } from 'node:test'
import type { FeedStep } from 'holdfast'
import { http } from '../../src/remote/http.ts'
import { remoteFeed } from '../../src/remote/remote-feed.ts'

/** What the service answers, one after the other; then nothing more. */
const answers: unknown[] = []
const asked: { since: string | null; at: number }[] = []
const server = createServer(async (request, response) => {
  asked.push({ since: new URL(request.url!, 'http://service').searchParams.get('since'), at: performance.now() })
  const answer = answers.shift()
  if (answer === undefined) return
  await sleep(80)
  response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
})
before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
after(() => {
  server.closeAllConnections()
  server.close()
})

function follow(since: string | undefined, signal: AbortSignal): AsyncIterable<FeedStep> {
  const service = http({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    authorization: 'Basic eA==',
    deadlineMs: 300,
    settleMs: 0,
    now: Date.now,
    fetch,
    changed() {},
  })
  return remoteFeed(service).follow({ since, signal, now: () => performance.now() })
}

it('a step is as of before the poll was sent, by the age that the service says, and the next poll goes on behind it', async () => {
  const notice = { kind: 'ended', ids: ['a'], reason: 'ended' } as const
  answers.push(
    { notices: [notice], cursor: 'c1', gap: true, ageMs: 30 },
    { notices: [], cursor: 'c2', gap: false, ageMs: 0 },
  )
  const closing = new AbortController()
  const steps: FeedStep[] = []
  for await (const step of follow('c0', closing.signal)) {
    steps.push(step)
    const { at } = asked.at(-1)!
    const ageMs = steps.length === 1 ? 30 : 0
    assert.ok(step.asOf <= at - ageMs, `${step.asOf - at} ms`)
    if (steps.length === 2) closing.abort()
  }
  assert.deepEqual(
    asked.splice(0).map(({ since }) => since),
    ['c0', 'c1'],
  )
  assert.deepEqual(
    steps.map(({ notices, cursor, gap }) => ({ notices, cursor, gap })),
    [
      { notices: [notice], cursor: 'c1', gap: true },
      { notices: [], cursor: 'c2', gap: false },
    ],
  )
})

it('an answer of a service that has not read everything yet is complete as of no instant', async () => {
  const closing = new AbortController()
  answers.push({ notices: [], cursor: 'c', gap: false, ageMs: null })
  for await (const { asOf } of follow(undefined, closing.signal)) {
    assert.equal(asOf, -Infinity)
    closing.abort()
  }
})

it('an answer that is no step, and none in time, end the iteration with an error; closing ends it without', async () => {
  const signal = new AbortController()
  for (const answer of [
    {},
    { notices: [], cursor: 'c', gap: false, ageMs: -1 },
    { notices: [], cursor: 'c', gap: false, ageMs: '1' },
    { notices: [], cursor: 'c', gap: false },
  ]) {
    answers.push(answer)
    await assert.rejects(async () => {
      for await (const _ of follow(undefined, signal.signal));
    })
  }
  await assert.rejects(
    async () => {
      for await (const _ of follow(undefined, signal.signal));
    },
    { message: /no answer within/ },
  )
  asked.length = 0
  const ended = (async () => {
    for await (const _ of follow(undefined, signal.signal));
  })()
  while (asked.length === 0) await sleep(5)
  signal.abort()
  await ended
})
