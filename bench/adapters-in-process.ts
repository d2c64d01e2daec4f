// What the adapter of each framework costs a request where nothing else happens: the framework's server gets its bytes from memory instead
// of a socket, so neither the kernel nor a load generator that has to be woken takes part. `node --conditions=source bench/adapters-in-process.ts`
// Options: --rounds 15 --requests 4000 --write. Each framework runs in a process of its own, bare and Holdfast by turns.
import 'reflect-metadata'
import { spawnSync } from 'node:child_process'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { getRequestListener } from '@hono/node-server'
import { Controller, Get, Req } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import express from 'express'
import fastify from 'fastify'
import { createSessions, type SessionOf } from 'holdfast'
import { sessionMiddleware as expressSessions } from 'holdfast/adapters/express'
import { sessionPlugin } from 'holdfast/adapters/fastify'
import { withSession } from 'holdfast/adapters/fetch'
import { sessionMiddleware as honoSessions } from 'holdfast/adapters/hono'
import { sessionMiddleware as koaSessions } from 'holdfast/adapters/koa'
import { sessionMiddleware as nestSessions } from 'holdfast/adapters/nest'
import { sessionHandler } from 'holdfast/adapters/node'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import { Hono } from 'hono'
import Koa from 'koa'
import { answer, content } from './harness/person.ts'
import { heading, median, provenance, publish, round, save, table } from './harness/report.ts'
import { sessionCount } from './harness/start.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    requests: { type: 'string', default: '4000' },
    only: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
})

const sessions = createSessions({ store: memoryStore(), feed: memoryFeed(), data: {} })
type Held = SessionOf<typeof sessions>

const known = answer('identity', content('identity', 0))
const who = ({ userId, roles }: Pick<Held, 'userId' | 'roles'>) => answer('identity', { userId: userId!, roles })
const inRequest = (request: object) => who((request as { session: Held }).session)

/** By framework: with sessions or bare. */
const servers: Record<string, (held: boolean) => Server | Promise<Server>> = {
  'node:http'(held) {
    const reply = (response: ServerResponse, body: object) => {
      response.setHeader('content-type', 'application/json; charset=utf-8')
      response.end(JSON.stringify(body))
    }
    if (!held) return createServer((_, response) => reply(response, known))
    return createServer(sessionHandler(sessions, (_, response, session) => reply(response, who(session))))
  },
  Express(held) {
    const app = express()
    if (held) app.use(expressSessions(sessions))
    app.get('/', (request, response) => void response.json(held ? inRequest(request) : known))
    return createServer(app)
  },
  async Fastify(held) {
    const app = fastify()
    if (held) await app.register(sessionPlugin(sessions))
    app.get('/', async (request) => (held ? who(request.getDecorator<Held>('session')) : known))
    await app.ready()
    return app.server
  },
  Koa(held) {
    const app = new Koa()
    if (held) app.use(koaSessions(sessions))
    app.use((ctx) => void (ctx.body = held ? inRequest(ctx.state) : known))
    return createServer(app.callback())
  },
  async 'NestJS on Express'(held) {
    class Root {
      get(request: object): object {
        return held ? inRequest(request) : known
      }
    }
    Get()(Root.prototype, 'get', Object.getOwnPropertyDescriptor(Root.prototype, 'get')!)
    Req()(Root.prototype, 'get', 0)
    Controller()(Root)
    const app = await NestFactory.create({ module: Root, controllers: [Root] }, { logger: false, bodyParser: false })
    if (held) app.use(nestSessions(sessions))
    await app.init()
    return app.getHttpServer() as Server
  },
  'fetch on @hono/node-server'(held) {
    const handler = withSession(sessions, (_, session) => Response.json(who(session)))
    return createServer(getRequestListener(held ? handler : () => Response.json(known)))
  },
  'Hono on @hono/node-server'(held) {
    const app = new Hono<{ Variables: { session: Held } }>()
    if (held) app.use(honoSessions(sessions))
    app.get('/', (c) => c.json(held ? who(c.var.session) : known))
    return createServer(getRequestListener(app.fetch))
  },
}

/** A connection in memory. */
class Wire extends Duplex {
  readonly #answered: () => void
  #text = ''

  constructor(answered: () => void) {
    super()
    this.#answered = answered
  }
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#take(chunk.toString('latin1'))
    done()
  }
  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#take(chunks.map(({ chunk }) => chunk.toString('latin1')).join(''))
    done()
  }
  #take(text: string): void {
    this.#text += text
    if (!this.#text.endsWith('}') && !this.#text.endsWith('\r\n0\r\n\r\n')) return
    if (!this.#text.startsWith('HTTP/1.1 200')) throw new Error(this.#text)
    this.#text = ''
    this.#answered()
  }
  setTimeout(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
}

/** CPU µs per request. */
async function cost(server: Server, requests: readonly Buffer[], count: number): Promise<number> {
  const before = process.cpuUsage()
  let sent = 0
  const connection = async () => {
    let answered = Promise.withResolvers<void>()
    const wire = new Wire(() => answered.resolve())
    server.emit('connection', wire)
    while (sent < count) {
      answered = Promise.withResolvers()
      wire.push(requests[sent++ % requests.length])
      await answered.promise
      // As from a socket, the next one comes in a turn of its own.
      await turn()
    }
    wire.destroy()
  }
  await Promise.all(Array.from({ length: 4 }, connection))
  const { user, system } = process.cpuUsage(before)
  return (user + system) / count
}

async function measure(framework: string): Promise<void> {
  const requests: Buffer[] = []
  for (let n = 0; n < sessionCount; n++) {
    const { userId, roles, amr } = content('identity', n)
    const { token } = await sessions.start(userId, { roles, amr })
    requests.push(Buffer.from(`GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: __Host-session=${token}\r\n\r\n`))
  }
  const [bare, held] = [await servers[framework]!(false), await servers[framework]!(true)]
  const costs: { bare: number; held: number }[] = []
  const warm = 4
  for (let n = -warm; n < Number(values.rounds); n++) {
    const count = Number(values.requests)
    const both = { bare: await cost(bare, requests, count), held: await cost(held, requests, count) }
    if (n >= 0) costs.push(both)
  }
  console.log(JSON.stringify(costs))
  process.exit()
}

if (values.only !== undefined) await measure(values.only)
const results = Object.keys(servers).map((framework) => {
  const args = ['--conditions=source', import.meta.filename, ...process.argv.slice(2), '--only', framework]
  const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  const rounds = JSON.parse(stdout) as { bare: number; held: number }[]
  const least = (which: 'bare' | 'held') => Math.min(...rounds.map((round) => round[which]))
  return {
    framework,
    bareUs: round(median(rounds.map(({ bare }) => bare)), 1),
    overBareUs: round(median(rounds.map(({ bare, held }) => held - bare)), 1),
    // A busy machine only ever adds.
    leastUs: { bare: round(least('bare'), 1), overBare: round(least('held') - least('bare'), 1) },
  }
})
const text = table(
  ['CPU µs per request: median / least', 'bare', 'over bare'],
  results.map(({ framework, bareUs, overBareUs, leastUs }) => [
    framework,
    `${bareUs.toFixed(1)} / ${leastUs.bare.toFixed(1)}`,
    `${overBareUs.toFixed(1)} / ${leastUs.overBare.toFixed(1)}`,
  ]),
)
const about = heading(null)
const shown = `${text}\n\n${provenance(about)}; ${values.rounds} rounds.`
console.log(`\n${shown}`)
save('adapters-in-process', { ...about, options: values, results })
if (values.write) publish('adapters-in-process', shown)
