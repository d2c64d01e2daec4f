// The file of rules, YAML or JSON: read once, at the start; everything that is wrong is named, with its line.
import { readFileSync } from 'node:fs'
import type { Duration, Roles } from 'holdfast'
import { isNode, LineCounter, parseDocument, type Document } from 'yaml'
import * as z from 'zod'
import { StartError } from '../start-error.ts'
import { canonicalHost, canonicalPath } from './canonical.ts'
import { hides, type Rule } from './rules.ts'

export interface RulesFile {
  readonly rules: readonly Rule[]
  /** What the permissions in rules are granted by. */
  readonly roles: Roles
  /** Where browsers are sent to sign in, a path on the same host; `null`: they get a 401 as everybody else. */
  readonly signIn: string | null
  readonly trustedOrigins: readonly string[]
}

const largest = 1_048_576

const host = z
  .string()
  .refine(
    (text) => text === '*' || canonicalHost(text.replace(/^\*\./, '')) === text.replace(/^\*\./, ''),
    'expected a host in lower case without port, such as shop.example, *.shop.example or *',
  )

const path = z
  .string()
  .refine(
    isPattern,
    'expected a path as it is when decoded, such as /orders, /orders/{id} or /orders/*; without . and .. segments, //, \\ ; ? # and %',
  )

const permission = z.string().regex(/^[^*\s]+$/, "expected one permission, such as orders:read, without '*'")
const grant = z.string().regex(/^(\*|[^*\s]+(:\*)?)$/, "expected a permission, such as orders:read, orders:* or '*'")
const duration = z
  .string()
  .regex(/^[1-9]\d{0,5}(s|m|h|d)$/, 'expected a duration, such as 30s, 5m or 12h')
  .transform((text) => text as Duration)
const visible = z
  .string()
  .regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/, 'expected visible ASCII without spaces and quotes')
const origin = z
  .string()
  .refine(
    (text) => URL.canParse(text) && new URL(text).origin === text,
    'expected an origin, such as https://accounts.example',
  )

const rule = z
  .strictObject({
    host,
    path,
    methods: z
      .array(z.string().regex(/^[A-Z][A-Z-]{0,31}$/, 'expected a method in upper case, such as GET'))
      .min(1)
      .optional(),
    allow: z.enum(['public', 'signed-in'], "expected 'public' or 'signed-in'"),
    permission: permission.optional(),
    within: duration.optional(),
    acr: z.array(visible).min(1).optional(),
    audience: visible.optional(),
  })
  .superRefine(({ allow, permission, within, acr }, context) => {
    for (const [key, value] of Object.entries({ permission, within, acr })) {
      if (allow === 'public' && value !== undefined)
        context.addIssue({ code: 'custom', path: [key], message: 'is for signed-in users, but the rule is public' })
    }
  })

const file = z.strictObject({
  signIn: z
    .string()
    .refine((text) => isPattern(text) && !/[{*]/.test(text), 'expected a path on the same host, such as /sign-in')
    .optional(),
  trustedOrigins: z.array(origin).optional(),
  roles: z.record(z.string(), z.array(grant)).optional(),
  rules: z.array(rule).min(1).max(1000),
})

/** Throws `StartError` with every problem there is, each with file, line and key. */
export function readRulesFile(name: string): RulesFile {
  const lines = new LineCounter()
  const document = parseDocument(read(name), { lineCounter: lines, prettyErrors: false, maxAliasCount: 0 } as object)
  const at = (offset: number) => `HOLDFAST_RULES: ${name}, line ${lines.linePos(offset).line}`
  const broken = [...document.errors, ...document.warnings]
  if (broken.length > 0) throw new StartError(broken.map(({ pos, message }) => `${at(pos[0])}: ${message}`))
  const parsed = file.safeParse(plain(document, name))
  if (!parsed.success) {
    throw new StartError(
      parsed.error.issues.flatMap((issue) =>
        describe(issue).map(({ keys, message }) => {
          return `${at(offsetOf(document, keys))}: ${shown(keys)}: ${message}`
        }),
      ),
    )
  }
  const { roles = {}, signIn = null, trustedOrigins = [] } = parsed.data
  const rules = parsed.data.rules.map(asRule)
  const unreachable = rules.flatMap((rule, n) => {
    const before = rules.slice(0, n).find((earlier) => hides(earlier, rule))
    if (before === undefined) return []
    return `${at(offsetOf(document, ['rules', n]))}: ${rule.name}: it never decides, since ${before.name} before it fits all that it fits: put it first, or leave it out`
  })
  if (unreachable.length > 0) throw new StartError(unreachable)
  return { rules, roles, signIn, trustedOrigins }
}

function asRule(
  { host, path, methods, allow, permission, within, acr, audience }: z.output<typeof rule>,
  n: number,
): Rule {
  return {
    name: `rules[${n}]`,
    host,
    path,
    methods: methods === undefined ? null : new Set(methods),
    require: allow === 'public' ? null : { permission, within, acr },
    audience: audience ?? null,
  }
}

function read(name: string): string {
  try {
    const bytes = readFileSync(name)
    if (bytes.length > largest) throw new Error('it is larger than 1 MiB')
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new StartError(`HOLDFAST_RULES: ${name} can't be read: ${(error as Error).message}`, error)
  }
}

function plain(document: Document, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 0 })
  } catch (error) {
    throw new StartError(`HOLDFAST_RULES: ${name}: write it without aliases (*name)`, error)
  }
}

/** Segments that are literal, `{name}`, or, at the end, `*`; no literal in a form that no canonical path has. */
function isPattern(text: string): boolean {
  if (!text.startsWith('/') || /[%?]/.test(text)) return false
  const literal = text.replace(/\/\*$/, '/').replaceAll(/\/\{\w+\}(?=\/|$)/g, '/x')
  return (
    !/[*{}]/.test(literal) &&
    literal.isWellFormed() &&
    canonicalPath(encodeURI(literal).replaceAll('%25', '%')) !== null
  )
}

type Keys = readonly PropertyKey[]

function describe(issue: z.core.$ZodIssue): { keys: Keys; message: string }[] {
  if (issue.code !== 'unrecognized_keys')
    return [{ keys: issue.path, message: issue.message.replace(/^Invalid input: /, '') }]
  return issue.keys.map((key) => ({ keys: [...issue.path, key], message: 'there is no such key' }))
}

/** Of the value, or of the nearest thing around it that there is. */
function offsetOf(document: Document, keys: Keys): number {
  const found = document.getIn(keys, true)
  if (isNode(found) && found.range) return found.range[0]
  return keys.length === 0 ? 0 : offsetOf(document, keys.slice(0, -1))
}

function shown(keys: Keys): string {
  return (
    keys
      .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
      .join('')
      .replace(/^\./, '') || 'the file'
  )
}
