// How the service ends: in good order when told to, and without loss when killed.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { startRedis } from '../../scripts/servers/redis.ts'
import { adminSecret, basic, serve, until, type ServedProcess } from './service.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-stop-'))
after(() => rmSync(folder, { recursive: true }))

/** A request whose body has not all come yet. */
async function halfARequest(service: ServedProcess): Promise<{ socket: Socket; finish(): Promise<string> }> {
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  let answer = ''
  socket.setEncoding('utf8').on('data', (text: string) => (answer += text))
  const body = '{"userId":"under way"}'
  socket.write(
    `POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: ${basic(`admin:${adminSecret}`)}\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`,
  )
  // The service has it when it asks for the body.
  await until(() => answer.includes('100 Continue'), '100 Continue')
  return {
    socket,
    async finish() {
      socket.write(body)
      await once(socket, 'close')
      return answer
    },
  }
}

async function refused(service: ServedProcess): Promise<boolean> {
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  try {
    await once(socket, 'connect')
    return false
  } catch {
    return true
  } finally {
    socket.destroy()
  }
}

/** Has a process say from which ports the connections come that it takes. */
const saysWhomItTakes = {
  NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(
    "import{subscribe}from'node:diagnostics_channel';" +
      "subscribe('net.server.socket',({socket})=>process.stderr.write(`took ${socket.remotePort}\\n`))",
  )}`,
}

/** Asks until that fails. `port` is that of the connection, if there was one. */
async function askOn(url: string, agent: Agent, answered: () => void) {
  for (;;) {
    let port: number | undefined
    try {
      const request = get(url, { agent })
      request.once('socket', (socket) => {
        const connected = () => (port = socket.localPort)
        if (socket.connecting) socket.once('connect', connected)
        else connected()
      })
      const [answer] = (await once(request, 'response')) as [IncomingMessage]
      await once(answer.resume(), 'end')
      assert.equal(answer.statusCode, 200)
      answered()
    } catch (error) {
      return { code: (error as NodeJS.ErrnoException).code, port }
    }
  }
}

describe('told to stop', () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    it(`by ${signal}, it answers what is under way, accepts nothing new and exits with 0`, async () => {
      const service = await serve({
        HOLDFAST_ADMIN_SECRET: adminSecret,
        HOLDFAST_STORE: `sqlite:${join(folder, `${signal}.db`)}`,
      })
      const underWay = await halfARequest(service)
      const ended = service.end(signal)
      await until(() => service.output().includes('stopping'), 'the line that says so')
      await until(() => refused(service), 'that it accepts nothing new')
      const lastSentAt = performance.now()
      assert.match(await underWay.finish(), /HTTP\/1\.1 201 Created/)
      assert.equal(await ended, 0)
      assert.ok(performance.now() - lastSentAt < 8000, 'it waits for answers, not until they are late')
      assert.match(service.output(), /"msg":"stopped"/)
    })
  }

  it('under load, it resets nobody whom it took in: a request is answered, or refused at connecting', async () => {
    const untaken = [await resetUntaken(), await resetUntaken(), await resetUntaken()].toSorted((a, b) => a - b)
    // Whom the kernel lets in at the very moment that the listener closes no program can tell. Where the process loses its CPU then, they are many.
    assert.ok(untaken[1]! <= 1, untaken.join())
  })

  /** Stops a service under load; how many it reset whom it had not taken in yet. */
  async function resetUntaken(): Promise<number> {
    const env = { HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE: 'memory:', ...saysWhomItTakes }
    const service = await serve(env)
    const agent = new Agent({ keepAlive: true })
    let answered = 0
    const clients = Array.from({ length: 8 }, () => askOn(`${service.url}/healthz`, agent, () => answered++))
    await until(() => answered > 200, 'some answers')
    const ended = service.end()
    const ends = await Promise.all(clients)
    assert.equal(await ended, 0)
    agent.destroy()
    const reset = ends.filter(({ code }) => code !== 'ECONNREFUSED')
    for (const { code } of reset) assert.equal(code, 'ECONNRESET')
    const taken = new Set([...service.output().matchAll(/^took (\d+)$/gm)].map(([, port]) => Number(port)))
    assert.ok(taken.size > 8)
    for (const { port } of reset) assert.ok(port === undefined || !taken.has(port), 'reset, though it was taken in')
    return reset.length
  }

  it('twice, it exits at once', async () => {
    const service = await serve({ HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE: 'memory:' })
    const { socket } = await halfARequest(service)
    socket.on('error', () => {})
    service.child.kill('SIGTERM')
    await until(() => service.output().includes('stopping'), 'the line that says so')
    const askedAt = performance.now()
    assert.equal(await service.end('SIGTERM'), 1)
    assert.ok(performance.now() - askedAt < 5000, 'without waiting for the request')
    socket.destroy()
  })

  it('it does so when nobody reads its log any more, and serves until then', async () => {
    const service = await serve({ HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE: 'memory:' })
    service.child.stdout!.destroy()
    service.child.stderr!.destroy()
    for (let i = 0; i < 100; i++) await service.start()
    assert.equal(await service.end(), 0)
  })

  it('it is not ready any more for who still has a connection', async () => {
    const service = await serve({ HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE: 'memory:' })
    const underWay = await halfARequest(service)
    const idle = connect(Number(new URL(service.url).port), '127.0.0.1')
    let answer = ''
    idle.setEncoding('utf8').on('data', (text: string) => (answer += text))
    // Half a header: the connection is not idle, so it stays.
    idle.write('GET /readyz HTTP/1.1\r\n')
    await once(idle, 'connect')
    await service.call('GET', '/healthz')
    const ended = service.end()
    await until(() => service.output().includes('stopping'), 'the line that says so')
    idle.write('Host: x\r\n\r\n')
    await once(idle, 'close')
    assert.match(answer, /^HTTP\/1\.1 503 /)
    assert.match(answer, /"code":"stopping"/)
    await underWay.finish()
    assert.equal(await ended, 0)
  })
})

describe('killed while it writes', () => {
  for (const engine of ['sqlite', 'redis'] as const) {
    it(`it loses no session and no ending that was acknowledged, on ${engine}`, async () => {
      const redis = engine === 'redis' ? await startRedis() : null
      const env = {
        HOLDFAST_ADMIN_SECRET: adminSecret,
        HOLDFAST_STORE: redis?.url ?? `sqlite:${join(folder, 'killed.db')}`,
      }
      for (let round = 0; round < 2; round++) {
        const service = await serve(env)
        const [started, ended] = [new Map<string, string>(), new Map<string, string>()]
        const unknown = new Set<string>()
        const writers = Array.from({ length: 8 }, async () => {
          try {
            for (;;) {
              const { id, token } = await service.start()
              started.set(id, token)
              if (started.size % 3 !== 0) continue
              unknown.add(id)
              await service.call('DELETE', `/v1/sessions/${id}`)
              unknown.delete(id)
              started.delete(id)
              ended.set(id, token)
            }
          } catch {
            // Killed.
          }
        })
        await until(() => started.size > 60 && ended.size > 20, 'some writes')
        assert.equal(await service.end('SIGKILL'), null)
        await Promise.all(writers)

        const again = await serve(env)
        const active = async (token: string) =>
          (await again.call('POST', '/v1/sessions/verify', { body: { token } })).body.active
        for (const [id, token] of started)
          if (!unknown.has(id)) assert.equal(await active(token), true, 'a session was lost')
        for (const token of ended.values()) assert.equal(await active(token), false, 'an ending was lost')
        assert.equal(await again.end(), 0)
      }
      await redis?.stop()
    })
  }
})
