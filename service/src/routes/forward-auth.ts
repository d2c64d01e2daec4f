// `/forward-auth`: proxies ask here whether a request may pass. It is answered before the framework, which would cost more than the answer.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { identities, nobody } from '../forward-auth/identity.ts'
import { judge, type No } from '../forward-auth/judge.ts'
import { Original, originalOf, prefix, type Unclear } from '../forward-auth/original.ts'
import { ruleFinder } from '../forward-auth/rules.ts'
import type { RulesFile } from '../forward-auth/rules-file.ts'
import { trustedPeers } from '../forward-auth/trusted-peers.ts'
import { Problem, problemType } from '../problems.ts'
import type { App, Service } from '../server.ts'

export interface ForwardAuth {
  /** As `readPeers` gives them. */
  readonly trustedProxies: readonly string[]
  readonly rules: RulesFile | null
  /** Ids as the log has them. */
  readonly logId: (id: string) => string
}

/** More that wait for the store at once are too many. */
const waitingAtMost = 1_000
const complainEveryMs = 60_000

const always = ['Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff']
const yes = [...always, 'Content-Length', '0']

export function addForwardAuth({ server }: App, service: Service): void {
  const { sessions, logger, metrics, state, forwardAuth } = service
  const { rules, logId } = forwardAuth
  const isTrusted = trustedPeers(forwardAuth.trustedProxies)
  const decide = judge({
    sessions,
    find: ruleFinder(rules?.rules ?? []),
    identityOf: identities(service),
    signIn: rules?.signIn ?? null,
  })
  let waiting = 0
  let complainedAt = -Infinity

  const others = server.listeners('request') as ((request: IncomingMessage, response: ServerResponse) => void)[]
  server.removeAllListeners('request')
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    if (isQuestion(request.url!)) void answer(request, response)
    else for (const other of others) other.call(server, request, response)
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isTrusted(request.socket) || rules === null) return refuse(response, notSetUp(request), false)
    const original = originalOf(request)
    if (!(original instanceof Original)) return refuse(response, unjudged(original), false)
    if (waiting >= waitingAtMost) return refuse(response, overloaded(), false)
    waiting++
    try {
      const verdict = await decide(original)
      const cookies = cookieHeaders(original.cookies)
      if ('identity' in verdict) {
        metrics.decided(verdict.outcome)
        response.writeHead(200, [...yes, ...verdict.identity, ...cookies, ...closing()]).end()
      } else refuse(response, verdict, request.url === only401, cookies)
    } catch (err) {
      logger.error({ err }, 'forward-auth failed')
      response.destroy()
    } finally {
      waiting--
    }
  }

  function refuse(response: ServerResponse, verdict: No, never302: boolean, cookies: readonly string[] = []): void {
    const { outcome, problem, rule, session, location } = verdict
    metrics.decided(outcome)
    const { id = null, userId: user = null } = session ?? {}
    if (outcome === 'failed') logger.error({ err: problem.cause, rule: rule?.name }, 'forward-auth failed')
    // Of those who do not know how to ask one line a minute is enough.
    else if (outcome !== 'untrusted-proxy' && outcome !== 'misconfigured') {
      const known = { rule: rule?.name, session: id === null ? undefined : logId(id), user: user ?? undefined }
      logger.info({ outcome, why: problem.code, ...known }, 'forward-auth refused')
    }
    const status = location === undefined || never302 ? problem.status : 302
    const body = JSON.stringify(problem)
    response.writeHead(status, [
      ...always,
      ...nobody,
      ...Object.entries(problem.headers).flat(),
      ...(location === undefined ? [] : ['Location', location]),
      ...cookies,
      ...closing(),
      'Content-Type',
      problemType,
      'Content-Length',
      String(Buffer.byteLength(body)),
    ])
    response.end(body)
  }

  /** The next question belongs on another connection, to a service that stays. */
  function closing(): readonly string[] {
    return state.stopping ? ['Connection', 'close'] : []
  }

  function notSetUp({ socket }: IncomingMessage): No {
    if (!isTrusted(socket)) {
      complain(
        { peer: socket.remoteAddress },
        'somebody who is not in it asked /forward-auth: set HOLDFAST_TRUSTED_PROXIES',
      )
      return {
        outcome: 'untrusted-proxy',
        problem: new Problem(403, 'untrusted-proxy', 'this peer is not in HOLDFAST_TRUSTED_PROXIES'),
      }
    }
    complain({}, '/forward-auth lets nobody through without rules: set HOLDFAST_RULES')
    return { outcome: 'misconfigured', problem: new Problem(403, 'misconfigured', 'HOLDFAST_RULES is not set') }
  }

  function unjudged({ fault, why }: Unclear): No {
    if (fault === 'request') return { outcome: 'unclear', problem: new Problem(403, 'unclear', why) }
    complain({}, `a proxy does not say what it asks about: ${why}`)
    return { outcome: 'misconfigured', problem: new Problem(500, 'misconfigured', why) }
  }

  function complain(about: object, message: string): void {
    const now = performance.now()
    if (now - complainedAt < complainEveryMs) return
    complainedAt = now
    logger.warn(about, message)
  }
}

function isQuestion(url: string): boolean {
  const after = url[prefix.length]
  return url.startsWith(prefix) && (after === undefined || after === '/' || after === '?')
}

/** nginx takes nothing but 2xx, 401 and 403 for an answer. */
const only401 = `${prefix}?redirect=401`

function overloaded(): No {
  const headers = { 'retry-after': '1' }
  return { outcome: 'unavailable', problem: new Problem(503, 'overloaded', 'too many wait for the store', { headers }) }
}

/** As they are, and each in a header of its own as well: nginx and Caddy can't hand on several of one name. */
function cookieHeaders(lines: readonly string[]): readonly string[] {
  return lines.flatMap((line, i) => ['Set-Cookie', line, `X-Holdfast-Set-Cookie-${i + 1}`, line])
}
