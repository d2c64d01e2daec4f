// GET /v1/feed: what those who cache elsewhere learn of endings, and when.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { openEngine, type Engine } from '../src/engines/engine.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { adminSecret, basic, engines, serviceOn, until, type TestService } from './service.ts'

for (const { name, start } of engines) {
  describe(`the feed on ${name}`, () => {
    let store: Awaited<ReturnType<typeof start>>
    let service: TestService
    let engine: Engine
    let as: string
    before(async () => {
      store = await start()
      service = await serviceOn(store.url)
      engine = await openEngine(parseStoreUrl(store.url))
      as = await service.addClient('follower', 'feed')
      await until(async () => (await poll()).status === 200, 'the first step')
    })
    after(async () => {
      await engine.close()
      await service.stop()
      await store.stop()
    })

    const poll = (query = '', headers = {}) => service.call('GET', `/v1/feed${query}`, { as, headers })
    const cursor = async () => {
      // Without one, all that is kept is given, in pieces.
      for (let since = ''; ;) {
        const { body } = await poll(since)
        if (body.notices.length === 0) return body.cursor as string
        since = `?since=${body.cursor}`
      }
    }

    it('brings every ending and every change of identity, and nothing else', async () => {
      const since = await cursor()
      const { id } = await service.start({ userId: 'eve', data: { cart: [1] } })
      await service.call('PUT', '/v1/users/eve/roles', { body: { roles: ['clerk'] } })
      await service.call('DELETE', `/v1/sessions/${id}`)
      const notices: unknown[] = []
      for (let at = since; notices.length < 2;) {
        const { status, body } = await poll(`?since=${at}&wait=250`)
        assert.deepEqual([status, body.gap], [200, false])
        notices.push(...body.notices)
        at = body.cursor
      }
      assert.deepEqual(notices, [
        { kind: 'changed', id, epoch: 2 },
        { kind: 'ended', ids: [id], reason: 'ended' },
      ])
    })

    it('answers at once when there is something new, and after the wait when there is not', async () => {
      const since = await cursor()
      const askedAt = performance.now()
      const { body } = await poll(`?since=${since}&wait=250`)
      assert.ok(performance.now() - askedAt > 200)
      assert.deepEqual([body.notices, body.gap], [[], false])
      const { id } = await service.start()
      const ending = service.call('DELETE', `/v1/sessions/${id}`)
      let found
      do found = (await poll(`?since=${body.cursor}&wait=250`)).body
      while (found.notices.length === 0)
      assert.deepEqual(found.notices, [{ kind: 'ended', ids: [id], reason: 'ended' }])
      await ending
    })

    it('says as of when: an ending that was durable before that is in the answer', async () => {
      let since = await cursor()
      for (let i = 0; i < 20; i++) {
        const { id } = await service.start()
        await service.call('DELETE', `/v1/sessions/${id}`)
        const durableAt = performance.now()
        for (let found = false; !found;) {
          const askedAt = performance.now()
          const { body } = await poll(`?since=${since}&wait=50`)
          found = body.notices.some(({ ids }: { ids: string[] }) => ids.includes(id))
          assert.ok(found || askedAt - body.ageMs <= durableAt, 'older than it says')
          since = body.cursor
        }
      }
    })

    it('calls an unknown cursor a gap, and gives what it has', async () => {
      for (const since of ['nonsense', '0.99999999-0', 'x'.repeat(256)]) {
        const { status, body } = await poll(`?since=${since}`)
        assert.deepEqual([status, body.gap], [200, true])
      }
    })

    it('refuses what it does not understand, and pages of other sites', async () => {
      for (const query of ['?wait=251', '?wait=-1', '?wait=x', '?wait=1e2', `?since=${'x'.repeat(257)}`, '?token=x']) {
        assert.equal((await poll(query)).status, 400, query)
      }
      for (const headers of [
        { origin: 'https://evil.example' },
        { origin: 'null' },
        { 'sec-fetch-site': 'same-site' },
      ]) {
        assert.deepEqual((await poll('', headers)).body.code, 'cross-site')
      }
      assert.equal((await poll('', { origin: service.url })).status, 200)
      assert.equal((await service.call('GET', '/v1/feed', { as: null })).status, 401)
      assert.equal((await service.call('HEAD', '/v1/feed', { as })).status, 405)
    })

    it('streams, and goes on where the last event was', async () => {
      const stream = await events({ 'last-event-id': await cursor() })
      const first = await service.start()
      await service.call('DELETE', `/v1/sessions/${first.id}`)
      const one = await stream.next('notices')
      assert.deepEqual(one.data, { notices: [{ kind: 'ended', ids: [first.id], reason: 'ended' }], gap: false })
      const beat = await stream.next('as-of')
      assert.equal(beat.data.cursor, one.id)
      assert.ok(beat.data.ageMs >= 0)
      await stream.next('as-of')
      stream.close()
      const second = await service.start()
      await service.call('DELETE', `/v1/sessions/${second.id}`)
      const resumed = await events({ 'last-event-id': one.id! })
      assert.deepEqual((await resumed.next('notices')).data.notices[0].ids, [second.id])
      resumed.close()
      const lost = await events({ 'last-event-id': 'nonsense' })
      assert.equal((await lost.next('notices')).data.gap, true)
      lost.close()
    })

    it('has the headers that a stream wants', async () => {
      const stream = await events({})
      const { headers } = stream
      assert.match(headers.get('content-type')!, /^text\/event-stream/)
      assert.equal(headers.get('cache-control'), 'no-store')
      assert.equal(headers.get('x-content-type-options'), 'nosniff')
      stream.close()
      const refused = await fetch(`${service.url}/v1/feed`, {
        headers: { accept: 'text/event-stream', authorization: basic(as), origin: 'https://evil.example' },
      })
      assert.equal(refused.status, 403)
    })

    it('drops a reader that takes nothing, and nobody else waits for it', async () => {
      const memory = process.memoryUsage().rss
      const socket = await stalled()
      const stream = await events({ 'last-event-id': await cursor() })
      const ids = Array.from({ length: 100 }, (_, i) => `${i}`.padStart(22, 'x'))
      for (let i = 0; i < 6_000; i += 100) {
        await Promise.all(ids.map(() => engine.feed!.publish({ kind: 'ended', ids, reason: 'ended' })))
        await stream.next('notices')
      }
      const dropped = () =>
        service.lines.some(({ msg, client }) => client === 'follower' && String(msg).endsWith('was dropped'))
      await until(dropped, 'the reader dropped')
      socket.destroy()
      assert.ok(process.memoryUsage().rss - memory < 300e6)
      await stream.next('as-of')
      stream.close()
    })

    /** A reader of the stream that never reads. */
    async function stalled(): Promise<Socket> {
      const { port } = new URL(service.url)
      const socket = connect(Number(port), '127.0.0.1')
      await once(socket, 'connect')
      socket.write(
        `GET /v1/feed HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: text/event-stream\r\nAuthorization: ${basic(as)}\r\n\r\n`,
      )
      await once(socket, 'readable')
      return socket
    }

    async function events(headers: Record<string, string>): Promise<Events> {
      const aborting = new AbortController()
      const response = await fetch(`${service.url}/v1/feed`, {
        headers: { accept: 'text/event-stream', authorization: basic(as), ...headers },
        signal: aborting.signal,
      })
      assert.equal(response.status, 200)
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
      let text = ''
      return {
        headers: response.headers,
        async next(wanted) {
          for (;;) {
            const end = text.indexOf('\n\n')
            if (end === -1) {
              const { value, done } = await reader.read()
              assert.ok(!done, 'the stream ended')
              text += value
              continue
            }
            const fields = text
              .slice(0, end)
              .split('\n')
              .map((line) => /^(\w+): (.*)$/.exec(line)!.slice(1) as [string, string])
            text = text.slice(end + 2)
            const { id, event, data } = Object.fromEntries(fields)
            if (event === wanted) return { id, data: JSON.parse(data!) }
          }
        },
        close: () => aborting.abort(),
      }
    }
  })
}

interface Events {
  readonly headers: Headers
  /** The next event of that name; others are passed over. */
  // oxlint-disable-next-line typescript/no-explicit-any
  next(event: string): Promise<{ id: string | undefined; data: any }>
  close(): void
}

it('a stream ends when the service stops', async () => {
  const service = await serviceOn('memory:')
  await until(async () => (await service.call('GET', '/v1/feed')).status === 200, 'the first step')
  const response = await fetch(`${service.url}/v1/feed`, {
    headers: { accept: 'text/event-stream', authorization: basic(`admin:${adminSecret}`) },
  })
  const read = response.text()
  await service.stop()
  assert.match(await read, /^event: as-of\n/m)
})
