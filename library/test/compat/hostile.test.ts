// What an application does by mistake, or lets a client make it do: an error is answered, and nothing more happens.
import assert from 'node:assert/strict'
import { get } from 'node:http'
import { test } from 'node:test'
import type { Express, Request } from 'express'
import { memoryStore } from 'holdfast/stores/memory'
import { here, type Running } from './apps.ts'

/** Runs `story`; the runner itself fails a test in which an error was caught by nobody. */
async function served(
  build: (app: Express) => void,
  o: Parameters<typeof here>[1],
  story: (running: Running) => Promise<void>,
): Promise<void> {
  const running = await here(build, o)
  try {
    await story(running)
  } finally {
    await running.close()
  }
}

function answering(app: Express): void {
  app.get('/same', (req, res) => void res.end(req.query['v']))
  app.get('/change', (req, res) => {
    req.session.views = (req.session.views ?? 0) + 1
    res.end(req.query['v'])
  })
  app.get('/begun', (req, res) => {
    res.write('begun ')
    req.session.views = (req.session.views ?? 0) + 1
    res.end(req.query['v'])
  })
  app.get('/late', (req, res) => {
    req.session.views = (req.session.views ?? 0) + 1
    res.end('done')
    // As a timeout does that did not hear of the end.
    process.nextTick(() => res.writeHead(503))
  })
  app.get('/key/:key', (req, res) => {
    req.session[req.params.key] = JSON.parse(String(req.query['v']))
    res.end('set')
  })
  app.get('/number', (req, res) => {
    req.session['number'] = 1n
    res.end('set')
  })
  app.get('/read', (req, res) => void res.end(String(req.session.views ?? null)))
}

const limit = () => ({ signal: AbortSignal.timeout(5_000) })

test('a body that is none is an error, whether or not something has to be stored first', () =>
  served(answering, {}, async ({ url, browser }) => {
    const visitor = browser()
    assert.equal((await visitor.get('/change?v=ok')).status, 200)
    for (const path of ['/same', '/change']) {
      const response = await fetch(`${url}${path}?v=1&v=2`, limit())
      assert.deepEqual([response.status, await response.text()], [500, 'failed: ERR_INVALID_ARG_TYPE'], path)
    }
    await assert.rejects(fetch(`${url}/begun?v=1&v=2`, limit()).then((response) => response.text()))
    assert.equal((await visitor.get('/read')).body, '1')
  }))

test('what is sent while the session is stored breaks nothing', () =>
  served(answering, {}, async ({ url }) => {
    const response = await fetch(`${url}/late`, limit())
    assert.deepEqual([response.status, await response.text()], [503, 'done'])
  }))

test('keys and values that no session can have are an error at most, and the next request is served', () =>
  served(answering, { cookie: { maxAge: 60_000 } }, async ({ browser }) => {
    const visitor = browser()
    await visitor.get('/change?v=ok')
    const statuses: number[] = []
    for (const path of [
      '/number',
      '/key/__proto__?v={"polluted":1}',
      '/key/constructor?v={"prototype":{}}',
      '/key/touch?v=1',
      '/key/cookie?v={"data":1}',
      '/key/cookie?v=null',
    ]) {
      statuses.push((await visitor.get(path)).status)
      assert.equal((await visitor.get('/read')).body, '1', path)
    }
    assert.deepEqual(statuses, [500, 200, 200, 200, 200, 500])
  }))

test('a client can’t write attributes of the cookie', () =>
  served(answering, { cookie: (request: Request) => ({ domain: request.hostname }) }, async ({ url }) => {
    const cookieFor = (host: string) =>
      new Promise<string>((resolve, reject) => {
        get(`${url}/change?v=ok`, { headers: { host } }, (response) => {
          response.resume()
          resolve(`${response.statusCode} ${response.headers['set-cookie']?.[0]?.replace(/=[^;]+/, '')}`)
        }).on('error', reject)
      })
    assert.equal(
      await cookieFor('shop.example'),
      '200 connect.sid; Domain=shop.example; Path=/; HttpOnly; SameSite=Lax',
    )
    assert.equal(await cookieFor('x.test; SameSite=None; Path=/evil'), '500 undefined')
  }))

test('an object of a session that is over stores nothing, not even under the next one', () =>
  served(
    (app) => {
      app.get('/login', (req, res) => {
        req.session.passport = { user: 'ada' }
        res.send('hello')
      })
      const saved = (req: Request, end: (done: () => void) => void) =>
        new Promise<string>((resolve) => {
          const old = req.session
          end(() => void old.save((error?: { code?: string }) => resolve(error?.code ?? 'saved')))
        })
      app.get('/destroyed', async (req, res) => {
        res.send(await saved(req, (done) => void req.session.destroy(done)))
      })
      app.get('/renewed', async (req, res) => {
        res.send(await saved(req, (done) => void req.session.regenerate(done)))
      })
      app.get('/unasked', (req, res) => {
        const old = req.session
        ;(old.destroy as unknown as () => void)()
        old['flash'] = 'bye'
        old.save()
        res.send('out')
      })
      app.get('/who', (req, res) => void res.send(String(req.session.passport?.user ?? null)))
    },
    { store: memoryStore() },
    async ({ browser }) => {
      for (const [path, answer] of [
        ['/destroyed', 'session-gone'],
        ['/renewed', 'session-gone'],
        ['/unasked', 'out'],
      ] as const) {
        const visitor = browser()
        await visitor.get('/login')
        const old = visitor.copy()
        assert.equal((await visitor.get(path)).body, answer)
        assert.equal((await old.get('/who')).body, 'null', path)
        assert.equal((await visitor.get('/who')).body, 'null', path)
      }
    },
  ))
