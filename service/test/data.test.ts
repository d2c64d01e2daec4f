// Data: sections with entity tags, and no write that overwrites what its writer has not seen.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { engines, serviceOn, type TestService } from './service.ts'

for (const engine of engines) {
  describe(`data on ${engine.name}`, () => {
    let store: Awaited<ReturnType<typeof engine.start>>
    let service: TestService
    before(async () => {
      store = await engine.start()
      service = await serviceOn(store.url)
    })
    after(async () => {
      await service.stop()
      await store.stop()
    })

    const isNew = { 'if-none-match': '*' }
    const put = (path: string, body: unknown, headers: Record<string, string> = isNew) =>
      service.call('PUT', path, { body: JSON.stringify(body), headers })
    const cartOf = async () => `/v1/sessions/${(await service.start()).id}/data/cart`

    it('takes an empty body for no value, and leaves the section as it is', async () => {
      const path = await cartOf()
      await put(path, ['precious'])
      for (const body of ['', undefined]) {
        const headers = { 'if-match': '*' }
        const refused = await service.call('PUT', path, body === undefined ? { headers } : { body, headers })
        assert.deepEqual([refused.status, refused.body.code], [400, 'invalid-json'])
      }
      assert.deepEqual((await service.call('GET', path)).body, ['precious'])
    })

    it('takes no If-None-Match but * from a writer', async () => {
      const path = await cartOf()
      const refused = await put(path, 1, { 'if-none-match': '"junk"' })
      assert.deepEqual([refused.status, refused.body.code], [400, 'invalid-request'])
    })

    it('creates, reads, replaces and removes a section', async () => {
      const path = await cartOf()
      assert.equal((await service.call('GET', path)).body.code, 'no-such-section')
      const created = await put(path, ['a book'])
      assert.deepEqual([created.status, created.text], [201, ''])
      const etag = created.headers.get('etag')!
      const read = await service.call('GET', path)
      assert.deepEqual([read.status, read.body, read.headers.get('etag')], [200, ['a book'], etag])
      const replaced = await put(path, ['a book', 'a pen'], { 'if-match': etag })
      assert.equal(replaced.status, 204)
      assert.notEqual(replaced.headers.get('etag'), etag)
      assert.equal((await service.call('DELETE', path, { headers: { 'if-match': etag } })).status, 412)
      const removed = await service.call('DELETE', path, { headers: { 'if-match': replaced.headers.get('etag')! } })
      assert.deepEqual([removed.status, removed.text], [204, ''])
      assert.equal((await service.call('GET', path)).status, 404)
      assert.equal((await service.call('DELETE', path, { headers: { 'if-match': '*' } })).status, 412)
    })

    it('keeps any JSON value as it is', async () => {
      for (const value of [
        null,
        false,
        0,
        '',
        'a text',
        '"quoted"',
        [],
        {},
        { deep: [{ ü: '\u0000\u{1f600}' }] },
        1e300,
        -0.5,
      ]) {
        const path = await cartOf()
        assert.equal((await put(path, value)).status, 201)
        const { text, headers } = await service.call('GET', path)
        assert.deepEqual(JSON.parse(text), value)
        assert.match(headers.get('content-type')!, /^application\/json/)
      }
    })

    it('wants to know what a writer has seen', async () => {
      const path = await cartOf()
      const without = await put(path, 1, {})
      assert.deepEqual([without.status, without.body.code], [428, 'precondition-required'])
      assert.equal((await service.call('DELETE', path)).status, 428)
      assert.equal((await put(path, 1, { 'if-match': '*' })).status, 412)
      await put(path, 1)
      const again = await put(path, 2)
      assert.deepEqual([again.status, again.body.code], [412, 'precondition-failed'])
      // It says what is there now, so that the writer can read and try again.
      const { headers } = await service.call('GET', path)
      assert.equal(again.headers.get('etag'), headers.get('etag'))
      assert.equal((await put(path, 2, { 'if-match': '*' })).status, 204)
      assert.equal((await put(path, 3, { 'if-match': `"other", ${headers.get('etag')}` })).status, 412)
      assert.equal((await put(path, 3, { 'if-match': 'unquoted' })).status, 400)
      const tag = (await service.call('GET', path)).headers.get('etag')!
      assert.equal((await put(path, 3, { 'if-match': `W/${tag}` })).status, 412, 'a weak tag matches nothing')
      assert.equal((await put(path, 3, { 'if-match': `"other", ${tag}` })).status, 204)
    })

    it('answers 304 to who has it already', async () => {
      const path = await cartOf()
      const etag = (await put(path, [1])).headers.get('etag')!
      for (const known of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
        const { status, text } = await service.call('GET', path, { headers: { 'if-none-match': known } })
        assert.deepEqual([status, text], [304, ''])
      }
      assert.equal((await service.call('GET', path, { headers: { 'if-none-match': '"x"' } })).status, 200)
    })

    it('has tags of its own for each section, which using the session leaves alone', async () => {
      const { id, token } = await service.start({ data: { cart: [1], prefs: { theme: 'dark' } } })
      const etag = (await service.call('GET', `/v1/sessions/${id}/data/cart`)).headers.get('etag')!
      assert.equal((await put(`/v1/sessions/${id}/data/prefs`, {}, { 'if-match': '*' })).status, 204)
      await service.call('POST', '/v1/sessions/verify', { body: { token } })
      assert.equal((await put(`/v1/sessions/${id}/data/cart`, [2], { 'if-match': etag })).status, 204)
      assert.deepEqual((await service.call('GET', `/v1/sessions/${id}/data`)).body, { cart: [2], prefs: {} })
    })

    it('lets exactly one of many writers through who saw the same', async () => {
      const path = await cartOf()
      const etag = (await put(path, 0)).headers.get('etag')!
      const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => put(path, i + 1, { 'if-match': etag })))
      assert.equal(answers.filter(({ status }) => status === 204).length, 1)
      assert.equal(answers.filter(({ status }) => status === 412).length, 19)
    })

    it('loses no change of writers that read, write and try again', async () => {
      const path = await cartOf()
      await put(path, [])
      await Promise.all(Array.from({ length: 10 }, (_, i) => append(i)))
      const { body } = await service.call('GET', path)
      assert.deepEqual(body.toSorted(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])

      async function append(item: number): Promise<void> {
        for (;;) {
          const { body: items, headers } = await service.call('GET', path)
          const { status } = await put(path, [...items, item], { 'if-match': headers.get('etag')! })
          if (status === 204) return
          assert.equal(status, 412)
        }
      }
    })

    it('refuses data that is too large whole, and says so', async () => {
      const path = await cartOf()
      const { status, body } = await put(path, 'x'.repeat(70_000))
      assert.deepEqual([status, body.code], [413, 'data-too-large'])
      assert.equal((await service.call('GET', path)).status, 404)
      const started = await service.call('POST', '/v1/sessions', {
        body: { userId: 'ada', data: { cart: 'x'.repeat(70_000) } },
      })
      assert.equal(started.status, 413)
    })

    it('has none of a session that ended', async () => {
      const { id } = await service.start({ data: { cart: [] } })
      await service.call('DELETE', `/v1/sessions/${id}`)
      for (const [method, path] of [
        ['GET', '/data'],
        ['GET', '/data/cart'],
        ['DELETE', '/data/cart'],
      ] as const) {
        const { status } = await service.call(method, `/v1/sessions/${id}${path}`, { headers: { 'if-match': '*' } })
        assert.equal(status, 404)
      }
      assert.equal((await put(`/v1/sessions/${id}/data/cart`, 1)).body.code, 'session-gone')
    })
  })
}
