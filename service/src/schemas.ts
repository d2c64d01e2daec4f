// What the calls take and give. Every object is strict: a field that is not known is an error that names it.
import { isIP } from 'node:net'
import * as z from 'zod'
import { sectionName } from './permissions.ts'

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
export const exceptQuery = z.strictObject({ except: sessionId.optional().describe('a session to leave out') })

export const startBody = z.strictObject({
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
  credential: z.literal('opaque').optional(),
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
})

export const verifyBody = z.strictObject({ token: z.string() })
export const rolesBody = z.strictObject({ roles })

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
  expiresAt: instant,
})

export const startedShape = z.object({ session: sessionShape, token: z.string().describe('secret, shown this once') })
export const verifiedShape = z.union([
  z.object({ active: z.literal(true), session: sessionShape }),
  z.object({ active: z.literal(false), reason: z.enum(['malformed', 'duplicate', 'unknown', 'mismatch', 'expired']) }),
])
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
export const readyShape = z.object({ status: z.literal('ready'), store: z.string(), storeMs: z.number() })
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
