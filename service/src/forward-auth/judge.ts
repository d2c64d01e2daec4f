// Whether a request may pass. Whatever can't be told is a no.
import {
  AccessError,
  CrossSiteError,
  SessionGoneError,
  StoreUnavailableError,
  type Session,
  type Sessions,
} from 'holdfast'
import { Problem, asProblem } from '../problems.ts'
import type { AnyData } from '../routes/shown.ts'
import { nobody, type IdentityOf, type RawHeaders } from './identity.ts'
import type { Original } from './original.ts'
import type { FindRule, Rule } from './rules.ts'

/** What becomes of questions, as it is counted. */
export type Outcome =
  | 'allowed'
  | 'public'
  | 'unauthenticated'
  | 'step-up'
  | 'forbidden'
  | 'cross-site'
  | 'no-rule'
  | 'unclear'
  | 'untrusted-proxy'
  | 'misconfigured'
  | 'unavailable'
  | 'failed'

export interface Yes {
  readonly outcome: 'allowed' | 'public'
  readonly identity: RawHeaders
}

export interface No {
  readonly outcome: Exclude<Outcome, Yes['outcome']>
  readonly problem: Problem
  readonly rule?: Rule | undefined
  readonly session?: Session<AnyData> | undefined
  /** Where a browser is to go. */
  readonly location?: string | undefined
}

export interface JudgeOptions {
  readonly sessions: Sessions<AnyData>
  readonly find: FindRule
  readonly identityOf: IdentityOf
  readonly signIn: string | null
}

/** Never rejects. */
export type Judge = (original: Original) => Promise<Yes | No>

export function judge({ sessions, find, identityOf, signIn }: JudgeOptions): Judge {
  return async (original) => {
    const rule = find(original.host, original.path, original.asked)
    if (rule === null) return noRule
    if (rule === 'ambiguous') return ambiguous
    let session: Session<AnyData> | undefined
    try {
      session = await sessions.open(original)
      // A change that anybody may make may be a sign-in: the proxy would put these cookies behind those of the new session.
      if (session.id === null && (rule.require !== null || /^(GET|HEAD)$/.test(original.asked)))
        await refreshed(session, original)
      if (rule.require !== null) {
        // An assertion is for services, not for clients.
        if (session.userId === null || session.via !== null) return unauthenticated(session, rule, original)
        session.require(rule.require)
      }
      if (session.id === null || session.via !== null) return { outcome: 'public', identity: nobody }
      const identity = identityOf(session, rule.audience)
      return { outcome: 'allowed', identity: identity instanceof Promise ? await identity : identity }
    } catch (error) {
      if (error instanceof SessionGoneError) return unauthenticated(session!, rule, original)
      return { ...refusal(error, rule, original), rule, session }
    }
  }

  function unauthenticated(session: Session<AnyData>, rule: Rule, original: Original): No {
    const error = session.refused === null ? '' : ', error="invalid_token"'
    const problem = new Problem(401, 'unauthenticated', 'sign in first', {
      headers: { 'www-authenticate': `Bearer realm="holdfast"${error}` },
    })
    return { outcome: 'unauthenticated', problem, rule, session, location: signInFor(original, '') }
  }

  function refusal(error: unknown, { require: wanted }: Rule, original: Original): No {
    if (error instanceof CrossSiteError) return no('cross-site', 403, error.message)
    if (error instanceof AccessError && error.code === 'forbidden') return no('forbidden', 403, error.message)
    if (error instanceof AccessError) {
      const within = wanted?.within === undefined ? '' : String(seconds(wanted.within))
      const acr = wanted?.acr?.join(' ') ?? ''
      // RFC 9470, section 3.
      const problem = new Problem(401, error.code, error.message, {
        headers: {
          'www-authenticate':
            'Bearer realm="holdfast", error="insufficient_user_authentication"' +
            (acr === '' ? '' : `, acr_values="${acr}"`) +
            (within === '' ? '' : `, max_age="${within}"`),
        },
      })
      const hints =
        (acr === '' ? '' : `&acr_values=${encodeURIComponent(acr)}`) + (within === '' ? '' : `&max_age=${within}`)
      return { outcome: 'step-up', problem, location: signInFor(original, hints) }
    }
    const problem = asProblem(error)
    return { outcome: error instanceof StoreUnavailableError ? 'unavailable' : 'failed', problem }
  }

  /** Where a browser that is on its way to a page goes to sign in, and what page it is; not if that is the page it asked for. */
  function signInFor(original: Original, hints: string): string | undefined {
    if (signIn === null || !isNavigation(original) || `/${original.path.segments.join('/')}` === signIn)
      return undefined
    const { target } = original
    // Only a path can be said here, on the same host; and only one that every browser takes for one.
    const returnTo = target.length <= 2048 && /^\/(?![/\\])[!-[\]-~]*$/.test(target) ? target : '/'
    return `${encodeURI(signIn)}?return_to=${encodeURIComponent(returnTo)}${hints}`
  }
}

/** By its refresh cookie, if it has one. Another site can't make a browser do that, and spend the token: then the user signs in. */
async function refreshed(session: Session<AnyData>, original: Original): Promise<void> {
  if (original.header('cookie') === null) return
  try {
    await session.refresh()
  } catch (error) {
    if (!(error instanceof CrossSiteError)) throw error
  }
}

/** Browsers that are older than Sec-Fetch-Mode are known by what they accept alone. */
function isNavigation(original: Original): boolean {
  const mode = original.header('sec-fetch-mode')
  const accepts = original.header('accept')?.includes('text/html') === true
  return original.asked === 'GET' && accepts && (mode === null || mode === 'navigate')
}

const unitSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 }

function seconds(duration: string): number {
  return Number(duration.slice(0, -1)) * unitSeconds[duration.at(-1)!]!
}

function no(outcome: No['outcome'], status: number, detail: string): No {
  return { outcome, problem: new Problem(status, outcome, detail) }
}

// Made once: an error is expensive, and these are what a scanner gets.
const noRule = no('no-rule', 403, 'no rule lets this through')
const ambiguous = no('unclear', 403, 'only what many servers ignore, such as case, decides which rule holds')
