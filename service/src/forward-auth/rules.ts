// Who may do what: rules by host, path and method. The first that fits decides, and where none fits nobody may.
import type { Requirement } from 'holdfast'
import { leniently, type CanonicalPath } from './canonical.ts'

export interface Rule {
  /** Where it stands in the file, for the log: `rules[2]`. */
  readonly name: string
  /** `shop.example`, `*.shop.example` or `*`. */
  readonly host: string
  /** `/orders`, `/orders/{id}` or `/orders/*`, which is `/orders` too. */
  readonly path: string
  /** `GET` is `HEAD` too. `null`: any. */
  readonly methods: ReadonlySet<string> | null
  /** `null`: anybody. */
  readonly require: Requirement | null
  /** Whom the assertion is for; `null`: none is made. */
  readonly audience: string | null
}

/** The rule that decides, `null` when there is none; `ambiguous`: for a lenient server it would be another one. */
export type FindRule = (host: string, path: CanonicalPath, method: string) => Rule | null | 'ambiguous'

export function ruleFinder(rules: readonly Rule[]): FindRule {
  const matchers = rules.map((rule) => ({
    rule,
    onMethod: methodMatcher(rule.methods),
    onHost: hostMatcher(rule.host),
    onPath: pathMatcher(rule.path),
  }))

  return (host, { segments, lenient }, method) => {
    for (const { rule, onMethod, onHost, onPath } of matchers) {
      const fits = onMethod(method) && onHost(host) && onPath.lenient(lenient)
      if (fits) return onPath.exact(segments) ? rule : 'ambiguous'
    }
    return null
  }
}

/** Whether `later` can never decide, since `earlier` fits whatever it fits. */
export function hides(earlier: Rule, later: Rule): boolean {
  const onMethod = methodMatcher(earlier.methods)
  const methods = later.methods === null ? earlier.methods === null : [...later.methods].every(onMethod)
  return methods && hostMatcher(earlier.host)(later.host) && hidesPath(partsOf(earlier.path), partsOf(later.path))
}

/** Frameworks answer HEAD by what is there for GET. */
function methodMatcher(methods: Rule['methods']): (method: string) => boolean {
  if (methods === null) return () => true
  return (method) => methods.has(method) || (method === 'HEAD' && methods.has('GET'))
}

function hostMatcher(pattern: string): (host: string) => boolean {
  if (pattern === '*') return () => true
  if (!pattern.startsWith('*.')) return (host) => host === pattern
  const end = pattern.slice(1)
  return (host) => host.endsWith(end) && host.length > end.length
}

/** The segments of a pattern; `null`: any one. */
interface Parts {
  readonly wanted: readonly (string | null)[]
  readonly isPrefix: boolean
}

function partsOf(pattern: string): Parts {
  const parts = pattern.split('/').slice(1)
  const isPrefix = parts.at(-1) === '*'
  if (isPrefix || parts.at(-1) === '') parts.pop()
  return { wanted: parts.map((part) => (part.startsWith('{') ? null : part)), isPrefix }
}

function asLenient({ wanted, isPrefix }: Parts): Parts {
  return { wanted: wanted.map((part) => part && leniently(part)), isPrefix }
}

function hidesPath(earlier: Parts, later: Parts): boolean {
  if (later.isPrefix && !earlier.isPrefix) return false
  return matcher(asLenient(earlier))(asLenient(later).wanted)
}

type Matches = (segments: Parts['wanted']) => boolean

function pathMatcher(pattern: string): { exact: Matches; lenient: Matches } {
  const parts = partsOf(pattern)
  return { exact: matcher(parts), lenient: matcher(asLenient(parts)) }
}

function matcher({ wanted, isPrefix }: Parts): Matches {
  return (segments) => {
    if (isPrefix ? segments.length < wanted.length : segments.length !== wanted.length) return false
    for (let i = 0; i < wanted.length; i++) if (wanted[i] !== null && wanted[i] !== segments[i]) return false
    return true
  }
}
