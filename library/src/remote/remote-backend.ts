// A session's data and its changes, through the session service.
import type { Backend, Begun, SigningIn } from '../backend.ts'
import type { Tokens } from '../credentials/credentials.ts'
import { noData, type Sections } from '../data.ts'
import { AccessError, ConflictError, SessionGoneError } from '../errors.ts'
import type { EndReason, SessionEvent } from '../events.ts'
import { remembered } from '../identity.ts'
import { outcomeUnknown } from '../internal/guarded.ts'
import { path, type Http } from './http.ts'
import { endsAt, knownSession } from './known.ts'
import { noService, type Answer } from './refusal.ts'

export interface RemoteBackendOptions {
  readonly http: Http
  readonly sections: Sections
  readonly now: () => number
  readonly emit: (event: SessionEvent) => void
  /** Hears of what ended because of this process, which denies it from then on. */
  readonly ended: (ids: readonly string[], userId: string | null, reason: EndReason) => void
}

const maxAttempts = 100
/** Long enough for any crowd, short enough for a caller. */
const patienceMs = 5_000

export interface RemoteBackend extends Backend {
  /** Starts a session with what the service's call takes. */
  start(body: Readonly<Record<string, unknown>>): Promise<Begun>
}

export function remoteBackend({ http, sections, now, emit, ended }: RemoteBackendOptions): RemoteBackend {
  /** A section as a data string that holds nothing else, and its tag; `null` when there is none. */
  async function get(id: string, section: string): Promise<{ data: string; etag: string | null }> {
    const answer = await http.call({
      method: 'GET',
      path: path`/v1/sessions/${id}/data/${section}`,
      repeatable: true,
      accepts: ['no-such-section'],
    })
    if (answer.code !== null) return { data: noData, etag: null }
    return { data: JSON.stringify({ [section]: answer.body }), etag: answer.etag }
  }

  /** Writes a section if its tag is still `etag`; `null`: if there is none. `false`: somebody else wrote. */
  async function put(id: string, section: string, data: string, etag: string | null): Promise<boolean> {
    const value = (JSON.parse(data) as Record<string, unknown>)[section]
    if (value === undefined && etag === null) return true
    const call = () =>
      http.call({
        method: value === undefined ? 'DELETE' : 'PUT',
        path: path`/v1/sessions/${id}/data/${section}`,
        body: value,
        headers: etag === null ? { 'if-none-match': '*' } : { 'if-match': etag },
        accepts: ['no-such-section', 'precondition-failed'],
        section,
      })
    try {
      return (await call()).code === null
    } catch (error) {
      if (!outcomeUnknown(error)) throw error
      const stored = await get(id, section)
      if (stored.data === data) return true
      // It may still be on its way, and somebody else may have written since: only the caller can tell whether to try again.
      throw error
    }
  }

  async function start(body: Readonly<Record<string, unknown>>): Promise<Begun> {
    // Never made again: whether the first one began a session would remain unknown.
    const answer = await http.call({ method: 'POST', path: '/v1/sessions', body })
    const known = knownSession((answer.body as { session?: unknown } | undefined)?.session, answer)
    emit({ type: 'started', id: known.id, userId: known.userId })
    return { known, tokens: tokensOf(answer), unsettled: null }
  }

  /** Ends what nobody will hold the credential of. */
  async function unlessDeliverable(begun: Begun, checkDeliverable: () => void): Promise<Begun> {
    try {
      checkDeliverable()
      return begun
    } catch (error) {
      await end(http, begun.known.id).catch(() => {})
      throw error
    }
  }

  return {
    start,

    async read(known, section) {
      sections.check(section)
      const { data } = known === null ? { data: noData } : await get(known.id, section)
      return { known, value: await sections.read(data, section) }
    },

    async guest(section, fn) {
      const { data, value } = await sections.write(noData, section, await fn(await sections.read(noData, section)))
      return {
        value,
        async begin(from) {
          from.checkDeliverable()
          return unlessDeliverable(
            await start({ userId: null, device: deviceOf(from), data: JSON.parse(data) as unknown }),
            from.checkDeliverable,
          )
        },
      }
    },

    async update(known, section, fn) {
      sections.check(section)
      const giveUpAt = performance.now() + patienceMs
      for (let attempt = 1; ; attempt++) {
        const { data, etag } = await get(known.id, section)
        const made = await sections.write(data, section, await fn(await sections.read(data, section)))
        if (await put(known.id, section, made.data, etag)) return { known, value: made.value }
        if (attempt === maxAttempts || performance.now() > giveUpAt) throw new ConflictError(attempt)
        await pause(attempt)
      }
    },

    async signIn({ userId, old, o, checkDeliverable, ...from }) {
      const body = { userId, ...signInBody(o), device: deviceOf(from) }
      checkDeliverable()
      if (old === null) return unlessDeliverable(await start(body), checkDeliverable)
      try {
        const begun = await start({ ...body, replaces: old.id, carry: o.carry })
        ended([old.id], old.userId, 'replaced')
        return begun
      } catch (error) {
        // Who was signed out everywhere meanwhile does not sign in again by a request that was under way.
        if (!(error instanceof SessionGoneError) || old.userId === userId) throw error
        return unlessDeliverable(await start(body), checkDeliverable)
      }
    },

    async end({ id, userId }) {
      await end(http, id)
      ended([id], userId, 'signed-out')
    },

    async assert({ known, token, audience, scope }) {
      // What the user's client presented shows that it is this one's to act for; an id alone wants a permission of its own.
      const subject =
        token === null ? { sessionId: known.id } : known.via === undefined ? { token } : { assertion: token }
      const answer = await http.call({
        method: 'POST',
        path: '/v1/assertions',
        body: { ...subject, audience, scope },
        repeatable: true,
        accepts: ['credential-refused', 'forbidden'],
      })
      const { assertion, detail } = (answer.body ?? {}) as Record<string, unknown>
      if (answer.code === 'forbidden') throw new AccessError('forbidden', String(detail))
      if (answer.code !== null)
        throw new SessionGoneError('the session has ended, or what it was opened with is good no more')
      if (typeof assertion !== 'string') throw noService(answer.status)
      return assertion
    },

    reissue: null,
    endsAt,
    maxAgeMs: (known) => (remembered(known) ? endsAt(known) - now() : null),
  }
}

/** Whether it was alive. */
export async function end(http: Http, id: string, settled = false): Promise<boolean> {
  const { code } = await http.call({
    method: 'DELETE',
    path: `${path`/v1/sessions/${id}`}${settled ? '?settled=true' : ''}`,
    repeatable: true,
    settles: settled,
    accepts: ['session-gone'],
  })
  return code === null
}

/** What a call that begins a session takes of `o`. */
export function signInBody(o: SigningIn['o']): Record<string, unknown> {
  const { roles, claims, amr, acr, remember } = o
  return { roles, claims, amr, acr, remember }
}

/** The service tells the device out of the header, and takes nothing for an address that is none. */
export function deviceOf({ device, userAgent }: Pick<SigningIn, 'device' | 'userAgent'>): object {
  const { address } = device
  const isAddress = address !== null && /^[\da-f:.]{2,}(%[\w.-]+)?$/i.test(address)
  return { userAgent: userAgent?.slice(0, 4096), address: isAddress ? address : undefined }
}

/** Of an answer that hands out a session. */
export function tokensOf({ status, body }: Answer): Tokens {
  const { token, accessToken, refreshToken, expiresIn } = body as Partial<Record<string, unknown>>
  if (typeof token === 'string') return { token, refreshToken: null, expiresInMs: null }
  if (typeof accessToken === 'string' && typeof refreshToken === 'string' && typeof expiresIn === 'number')
    return { token: accessToken, refreshToken, expiresInMs: expiresIn * 1000 }
  throw noService(status)
}

/** None at first, then up to 32 ms, at random, so that those who collided part. */
function pause(attempt: number): Promise<void> {
  if (attempt === 1) return Promise.resolve()
  return new Promise((resolve) => {
    setTimeout(resolve, Math.random() * Math.min(2 ** attempt, 32))
  })
}
