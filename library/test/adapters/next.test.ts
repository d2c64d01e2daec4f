// Route handlers of Next.js, built and served by Next.js itself as in production, and what its other parts can read of a session.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { createSessions, type Sessions } from 'holdfast'
import { withSession } from 'holdfast/adapters/fetch'
import { memoryStore } from 'holdfast/stores/memory'
import { testAdapter, type ServeAdapter } from 'holdfast/testing'
import { listening, toResponse } from './servers.ts'

interface RouteContext {
  readonly params: Promise<{ path?: string[] }>
}

/** What the built application asks for when a request comes: it is served by this process. */
const shared = globalThis as {
  route?: (request: Request, context: RouteContext) => Promise<Response>
  sessions?: Sessions<Readonly<Record<string, unknown>>>
}

const files = {
  'package.json': '{ "private": true }',
  'app/layout.js': 'export default ({ children }) => <html><body>{children}</body></html>',
  'app/guarded/page.js': 'export default () => <p>guarded</p>',
  'app/[[...path]]/route.js': `
    const handle = (request, context) => globalThis.route(request, context)
    export { handle as GET, handle as POST, handle as PUT, handle as PATCH, handle as DELETE }`,
  'app/account/page.js': `
    import { cookies } from 'next/headers'
    export default async function Account() {
      const token = (await cookies()).get('__Host-session')?.value
      const session = token === undefined ? null : await globalThis.sessions.open(token)
      return <p>{session?.userId ?? 'nobody'}</p>
    }`,
  'proxy.js': `
    import { NextResponse } from 'next/server'
    export async function proxy(request) {
      const token = request.cookies.get('__Host-session')?.value
      const session = token === undefined ? null : await globalThis.sessions.open(token)
      if ((session?.userId ?? null) === null) return NextResponse.redirect(new URL('/sign-in', request.url))
    }
    export const config = { matcher: '/guarded' }`,
}

const dir = mkdtempSync(join(tmpdir(), 'holdfast-next-'))
after(() => rmSync(dir, { recursive: true }))
/** Of what the types of `next` say; they also say that every `process.env` has a `NODE_ENV`. */
type Next = (o: { dev: false; dir: string; quiet: true }) => {
  prepare(): Promise<void>
  getRequestHandler(): (request: IncomingMessage, response: ServerResponse) => Promise<void>
  close(): Promise<void>
}
const next = createRequire(import.meta.url)('next') as Next
let handle: ReturnType<ReturnType<Next>['getRequestHandler']>

before(async () => {
  for (const [path, source] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), source)
  }
  const modules = join(import.meta.dirname, '../../../node_modules')
  symlinkSync(modules, join(dir, 'node_modules'))
  Object.assign(process.env, { NODE_ENV: 'production', NEXT_TELEMETRY_DISABLED: '1' })
  const build = [join(modules, 'next/dist/bin/next'), 'build', '--webpack', '--experimental-build-mode', 'compile']
  await promisify(execFile)(process.execPath, build, { cwd: dir })
  const app = next({ dev: false, dir, quiet: true })
  await app.prepare()
  handle = app.getRequestHandler()
  after(() => app.close())
})

/** As `next start` is, but for that it shows it when a field came twice: by itself Node hands on the first. */
function listen(): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer({ joinDuplicateHeaders: true }, (request, response) => void handle(request, response))
  return listening(server)
}

const onNext: ServeAdapter = (sessions, answer) => {
  shared.route = withSession(sessions, async (request, session, { params }: RouteContext) => {
    const path = `/${((await params).path ?? []).join('/')}${new URL(request.url).search}`
    return toResponse(await answer(session, { method: request.method, path, body: await request.text() }))
  })
  return listen()
}

testAdapter('Next.js', { test, serve: onNext })

test('a Server Component and the proxy open the session by its cookie, and change nothing', async () => {
  shared.sessions = createSessions({ store: memoryStore() })
  const { token } = await shared.sessions.start('ada')
  const { url, close } = await listen()
  try {
    const get = (path: string, headers = {}) => fetch(url + path, { headers, redirect: 'manual' })
    const cookie = `__Host-session=${token}`
    assert.match(await (await get('/account')).text(), /<p>nobody<\/p>/)
    const page = await get('/account', { cookie })
    assert.match(await page.text(), /<p>ada<\/p>/)
    assert.equal(page.headers.get('set-cookie'), null)
    assert.match(page.headers.get('cache-control') ?? '', /no-store/)

    assert.equal((await get('/guarded')).headers.get('location'), '/sign-in')
    assert.equal((await get('/guarded', { cookie })).status, 200)
  } finally {
    await close()
  }
})
