// Whatever is sent, no application behind a proxy hears of anybody but who it is, and nobody goes where they may not.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Server } from '../../scripts/servers/server.ts'
import { sendRaw } from './asked.ts'
import { attempts } from './attempts.ts'
import { caddy, haproxy, host, nginx, startSite, type Site } from './site.ts'
import type { Arrived } from './upstream.ts'

/** Who attempts: nobody, or a shopper. */
interface Attacker {
  readonly userId: string
  readonly session: string
  readonly roles: string
  /** The line, with its end. */
  readonly cookie: string
}

const nobody: Attacker = { userId: '', session: '', roles: '', cookie: '' }

const proxies = [nginx, haproxy, caddy]

describe('whatever a client sends', () => {
  let site: Site
  let shopper: Attacker
  before(async () => {
    site = await startSite()
    const { id, cookie } = await site.signIn('ada')
    shopper = { userId: 'ada', session: id, roles: 'shopper', cookie: `Cookie: ${cookie}\r\n` }
  })
  after(() => site.stop())

  for (const proxy of proxies) {
    describe(`to ${proxy.name}`, () => {
      let front: Server
      before(async () => {
        front = await site.front(proxy)
      })

      for (const who of ['nobody', 'a shopper']) {
        it(`${attempts.length} attempts of ${who} get nowhere`, async () => {
          const attacker = who === 'nobody' ? nobody : shopper
          const found: string[] = []
          let arrived = 0
          for (const { name, bytes } of attempts) {
            await sendRaw(front.port, bytes(attacker.cookie))
            for (const request of site.arrivals()) {
              arrived++
              for (const wrong of wrongs(request, attacker))
                found.push(`${name}\n    → ${request.method} ${request.target}: ${wrong}`)
            }
          }
          assert.deepEqual(found, [], found.join('\n'))
          // Else nothing was tried.
          assert.ok(arrived > attempts.length / 2, `only ${arrived} requests came to the application`)
        })
      }
    })
  }

  describe('while nobody judges', () => {
    before(async () => {
      for (const replica of site.replicas) await replica.kill()
    })

    for (const proxy of proxies) {
      it(`${proxy.name} lets nothing through`, async () => {
        const front = await site.front(proxy)
        await Promise.all(
          Array.from({ length: 16 }, async (_, n) => {
            for (let i = n; i < attempts.length; i += 16) await sendRaw(front.port, attempts[i]!.bytes(shopper.cookie))
          }),
        )
        assert.deepEqual(site.arrivals(), [])
      })
    }
  })
})

const publicPaths = /^\/(public(\/.*)?|sign-in)$/

/** What is not as it must be in what the application heard. */
function wrongs({ method, path, target, headers }: Arrived, who: Attacker): string[] {
  const found: string[] = []
  const only = (name: string, ...expected: string[]) => {
    const lines = headers.get(name) ?? []
    if (lines.length > 1 || (lines.length === 1 && !expected.includes(lines[0]!)))
      found.push(`${name}: ${JSON.stringify(lines)}`)
  }
  only('x-holdfast-user', '', who.userId)
  only('x-holdfast-session', '', who.session)
  only('x-holdfast-roles', '', who.roles)
  only('x-holdfast-acr', '')
  only('x-holdfast-amr', '')
  const at = headers.get('x-holdfast-authenticated-at') ?? []
  if (at.length > 1 || Number(at[0] ?? 0) > Date.now()) found.push(`authenticated at ${at.join()}`)
  for (const token of headers.get('txn-token') ?? []) {
    if (token !== '' && subjectOf(token) !== who.userId) found.push('an assertion of somebody else')
  }

  if (!target.startsWith('/')) found.push(`a target in another form than the judged one: ${target}`)
  // What only a proxy knows.
  only('host', host)
  only('x-forwarded-host', host)
  only('x-forwarded-proto', 'http')
  only('x-forwarded-for', '127.0.0.1')
  for (const name of ['uri', 'method', 'prefix', 'server', 'port']) only(`x-forwarded-${name}`)
  for (const name of [
    'x-original-url',
    'x-original-uri',
    'x-original-method',
    'x-rewrite-url',
    'x-real-ip',
    'forwarded',
    'x-http-method-override',
    'x-http-method',
    'x-method-override',
  ])
    only(name)
  for (const line of headers.get('connection') ?? []) {
    if (!/^(close|keep-alive|upgrade)?$/i.test(line)) found.push(`connection: ${line}`)
  }
  only('upgrade', 'websocket')

  const isKnown = headers.get('x-holdfast-user')?.[0] === who.userId && who.userId !== ''
  if (!publicPaths.test(path) && !isKnown) found.push(`nobody was let in to ${path}`)
  if (/^\/admin(\/|$)/.test(path)) found.push(`let in to ${path}`)
  if (/^\/orders(\/|$)/.test(path) && !['GET', 'HEAD'].includes(method)) found.push(`let do ${method} ${path}`)
  return found
}

function subjectOf(token: string): unknown {
  try {
    return (JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { sub?: unknown }).sub
  } catch {
    return null
  }
}
