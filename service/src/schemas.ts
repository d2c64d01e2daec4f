// What the calls take and give. Every object is strict: a field that is not known is an error that names it.
import { isIP } from 'node:net'
import type { RefusedReason } from 'holdfast'
import * as z from 'zod'
import { clientId, sectionName } from './permissions.ts'

const noControls = /^\P{Cc}*$/u
const text = (max: number) => z.string().min(1).max(max).regex(noControls, 'must not hold control characters')

export const sessionId = z.string().regex(/^[\w-]{22}$/, 'expected the id of a session: 22 letters, digits, - or _')
export const userId = text(256).refine((id) => id.isWellFormed(), 'must not hold lone surrogates')
export const section = z
  .string()
  .regex(sectionName, "expected the name of a section: a letter, then up to 63 letters, digits, '_', '.' or '-'")

const roles = z.array(text(128)).max(100)
const value = z.unknown().describe('any JSON value')
const largestClaims = 8_192

/** Query of a call that takes none. */
export const noQuery = z.strictObject({})
export const byId = z.strictObject({ id: sessionId })
export const bySection = z.strictObject({ id: sessionId, section })
export const byUser = z.strictObject({ userId })
const except = sessionId.optional().describe('a session to leave out')
const settled = z
  .enum(['true', 'false'])
  .transform((text) => text === 'true')
  .optional()
  .describe('true: answer when nobody who follows the feed can accept it any more, after HOLDFAST_MAX_STALENESS')
export const exceptQuery = z.strictObject({ except })
export const settledQuery = z.strictObject({ settled })
export const endAllQuery = z.strictObject({ except, settled })

export const startBody = z
  .strictObject({
    userId: userId.nullable().describe('null for a guest'),
    roles: roles.optional(),
    claims: z
      .record(text(128), value)
      .refine((claims) => JSON.stringify(claims).length <= largestClaims, `at most ${largestClaims} characters of JSON`)
      .optional()
      .describe('what services want to know at each request without reading data'),
    amr: z.array(text(64)).max(32).optional().describe('how the user authenticated, RFC 8176'),
    acr: text(256).optional().describe('assurance reached'),
    remember: z.boolean().optional().describe('the longer limits, for "remember me"'),
    credential: z
      .enum(['opaque', 'signed'])
      .optional()
      .describe('signed: a short-lived token that services check by themselves, and a refresh token. Default opaque'),
    device: z
      .strictObject({
        userAgent: z.string().max(4096).optional().describe('the User-Agent header, for a label in lists of devices'),
        address: z
          .string()
          .max(64)
          .refine((address) => isIP(address) !== 0, 'expected an IPv4 or IPv6 address')
          .optional(),
      })
      .optional(),
    data: z.record(section, value).optional().describe('sections to begin with; wants write or write:<section>'),
    replaces: sessionId.optional().describe('sign-in: the session whose place it takes, which ends; wants end'),
    carry: z
      .array(section)
      .max(100)
      .optional()
      .describe("with replaces: sections to take along. Default: all of a guest's or of the same user's, else none"),
  })
  .superRefine((body, context) => {
    for (const [field, message] of misplaced(body)) context.addIssue({ code: 'custom', path: [field], message })
  })

/** What says nothing, or another thing, where a session takes the place of another. */
function misplaced({ userId: user, replaces, carry, credential, data }: Replacing): [string, string][] {
  if (replaces === undefined) return carry === undefined ? [] : [['carry', 'goes with replaces']]
  const wrong: [string, string][] = []
  if (user === null) wrong.push(['userId', 'is the user who signs in, where there is replaces'])
  if (credential !== undefined) wrong.push(['credential', 'is of the kind that the replaced session has'])
  if (data !== undefined) wrong.push(['data', 'comes from the replaced session; write to the new one afterwards'])
  return wrong
}
interface Replacing {
  readonly userId: string | null
  readonly replaces?: string | undefined
  readonly carry?: unknown
  readonly credential?: unknown
  readonly data?: unknown
}

/** Longer than any token. */
export const refreshBody = z.strictObject({ refreshToken: z.string().max(1024) })
export const verifyBody = z
  .strictObject({
    token: z.string().optional(),
    assertion: z.string().optional().describe('in place of token: what another service asserted to the caller'),
  })
  .superRefine(exactlyOne('token', 'assertion'))
const grant = text(128).regex(/^(\*|[^*\s]+(:\*)?)$/, 'expected a permission such as orders:read, orders:* or *')
export const assertBody = z
  .strictObject({
    token: z.string().optional().describe("the user's credential, as it came to the caller"),
    assertion: z.string().optional().describe('in place of token: what another service asserted to the caller'),
    sessionId: sessionId.optional().describe('in place of token: a session by its id; wants start'),
    audience: z.string().regex(clientId, 'expected the id of a client').describe('who is called: it alone accepts it'),
    scope: z
      .array(grant)
      .max(100)
      .optional()
      .describe('what it may be used for, of what the user may and the caller was asserted. Default: all of that'),
  })
  .superRefine(exactlyOne('token', 'assertion', 'sessionId'))

function exactlyOne(...names: readonly string[]) {
  return (body: object, context: z.RefinementCtx) => {
    const given = names.filter((name) => (body as Record<string, unknown>)[name] !== undefined)
    if (given.length !== 1)
      context.addIssue({
        code: 'custom',
        path: [given[1] ?? names[0]!],
        message: `expected one of ${names.join(', ')}`,
      })
  }
}
export const rolesBody = z.strictObject({ roles })

/** Why a token opened no session. */
const refusedReasons = [
  'malformed',
  'duplicate',
  'unknown',
  'mismatch',
  'expired',
  'ended',
  'stale',
  'signature',
  'unknown-key',
  'issuer',
  'audience',
  'token-type',
  'not-yet-valid',
  'refresh-reused',
] as const satisfies readonly RefusedReason[]

const instant = z.number().int().describe('ms since the epoch')
const device = z.object({
  browser: z.string().nullable(),
  system: z.string().nullable(),
  label: z.string().describe('for people, such as Chrome 140 on Windows'),
  address: z.string().nullable(),
})

export const sessionShape = z.object({
  id: z.string(),
  userId: z.string().nullable(),
  roles: z.array(z.string()),
  claims: z.record(z.string(), z.unknown()),
  amr: z.array(z.string()),
  acr: z.string().nullable(),
  device,
  client: z.string().nullable().describe('the client that started it'),
  authenticatedAt: instant.nullable(),
  createdAt: instant,
  seenAt: instant.describe('may lag by a tenth of the idle time'),
  expiresAt: instant.describe('the earlier of the idle and the absolute end; of a signed token its own end'),
  endsAt: instant.describe('the absolute end'),
  remembered: z.boolean(),
  epoch: z.number().int().describe('+1 with each change of identity'),
})

const via = z
  .object({
    transaction: z.string().describe('the same in the whole chain, for logs'),
    callers: z.array(z.string()).readonly(),
    scope: z.array(z.string()).readonly(),
    expiresAt: instant,
  })
  .describe('of an assertion: through whom it came, and what it may be used for at most')

const secret = z.string().describe('secret, shown this once')
export const refreshedShape = z.object({
  session: sessionShape,
  accessToken: secret,
  refreshToken: secret.describe('secret, good once'),
  expiresIn: z.number().int().describe('seconds that the access token is good for'),
})
export const startedShape = z.union([z.object({ session: sessionShape, token: secret }), refreshedShape])
export const verifiedShape = z.union([
  z.object({ active: z.literal(true), session: sessionShape, via: via.optional() }),
  z.object({ active: z.literal(false), reason: z.enum(refusedReasons) }),
])
export const assertedShape = z.object({
  assertion: secret,
  expiresIn: z.number().int().describe('seconds that it is good for'),
})
export const sectionsShape = z.record(z.string(), z.unknown())
export const valueShape = value
export const listShape = z.object({
  sessions: z.array(
    z.object({
      id: z.string(),
      device,
      amr: z.array(z.string()),
      createdAt: instant,
      seenAt: instant,
      expiresAt: instant,
    }),
  ),
})
export const endedShape = z.object({ ended: z.number().int() })
export const changedShape = z.object({ changed: z.number().int() })

/** Unknown parameters are ignored there, as RFC 6749 (section 3.1) wants. */
export const tokenForm = z.object({ token: z.string().min(1), token_type_hint: z.string().optional() })
export const introspectionShape = z.union([
  z.object({
    active: z.literal(true),
    sub: z.string().optional(),
    client_id: z.string().optional(),
    sid: z.string(),
    iat: z.number().int().optional().describe('seconds since the epoch'),
    exp: z.number().int().describe('seconds since the epoch'),
    acr: z.string().optional(),
    amr: z.array(z.string()).optional(),
    roles: z.array(z.string()),
  }),
  z.object({ active: z.literal(false) }),
])

export const healthShape = z.object({ status: z.literal('ok') })
export const readyShape = z.object({
  status: z.literal('ready'),
  store: z.string(),
  storeMs: z.number(),
  feed: z.object({
    ageMs: z.number().nullable().describe('how old the view of endings is; null before it was first read'),
    lagMs: z.number().nullable().describe("how long the feed took to bring back this replica's latest ending"),
  }),
})

/** At most 250 ms, so that whoever follows learns in time that there is nothing new. */
export const feedQuery = z.strictObject({
  since: z.string().max(256).optional().describe('the cursor of the answer before; without it, all that is kept'),
  wait: z
    .string()
    .regex(/^\d{1,3}$/, 'expected milliseconds, 0 to 250')
    .transform(Number)
    .refine((ms) => ms <= 250, 'expected milliseconds, 0 to 250')
    .optional()
    .describe('how long to wait for something new, in ms. Default 0'),
})
export const feedShape = z.object({
  notices: z
    .array(
      z.union([
        z.object({ kind: z.literal('ended'), ids: z.array(z.string()).readonly(), reason: z.string() }),
        z.object({ kind: z.literal('changed'), id: z.string(), epoch: z.number().int() }),
        z.object({ kind: z.literal('keys') }),
      ]),
    )
    .readonly(),
  cursor: z.string().describe('where to go on'),
  gap: z.boolean().describe('notices may have been missed before these: forget what is cached'),
  ageMs: z
    .number()
    .nullable()
    .describe(
      'everything durable this many ms before the answer was made is in it, or was before; null: there is more to read',
    ),
})
export const jwksShape = z.object({ keys: z.array(z.record(z.string(), z.unknown())) })
export const metadataShape = z.record(z.string(), z.unknown())
/** An answer without a body. */
export const nothing = z.null().describe('no body')

export const problemShape = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code: z.string(),
    issues: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .describe('RFC 9457')
