// Who the thousand sessions belong to, what each of them holds, and what is asked of it.
import * as z from 'zod'

export const profile = z
  .object({
    name: z.string().default(''),
    email: z.string().default(''),
    locale: z.string().default('en-GB'),
    visits: z.number().default(0),
    cart: z.array(z.object({ sku: z.string(), quantity: z.number(), price: z.number() })).default([]),
    note: z.string().default(''),
  })
  .prefault({})
export type Profile = z.infer<typeof profile>

export interface Person {
  readonly userId: string
  readonly data: Profile
}

export const dataBytes = 300
export const roles = ['shopper']
export const amr = ['pwd']
export const address = '203.0.113.7'
export const userAgent =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36'

/** The `n`th person, always the same; what their session holds is `dataBytes` long as JSON. */
export function person(n: number): Person {
  const data: Profile = {
    name: `Person Number ${n}`,
    email: `person.${n}@shop.example`,
    locale: 'en-GB',
    visits: n % 100,
    cart: [
      { sku: `A-${100 + (n % 900)}`, quantity: 1, price: 1250 },
      { sku: `B-${100 + (n % 800)}`, quantity: 3, price: 499 },
    ],
    note: '',
  }
  const note = words.slice(0, dataBytes - JSON.stringify({ profile: data }).length)
  return { userId: `user-${n}`, data: { ...data, note } }
}

/** What is asked of a session: who it is, or also what it holds. */
export type Question = 'identity' | 'data'

/** What a contender's session is given; data only where it is asked for. */
export interface Content {
  readonly userId: string
  readonly roles: readonly string[]
  readonly amr: readonly string[]
  readonly data?: Profile | undefined
}

export function content(question: Question, n: number): Content {
  const { userId, data } = person(n)
  return { userId, roles, amr, ...(question === 'data' ? { data } : {}) }
}

/** What a contender answers. */
export function answer(
  question: Question,
  { userId, roles, data }: Pick<Content, 'userId' | 'roles' | 'data'>,
): object {
  return question === 'identity' ? { userId, roles } : { userId, data }
}

const words =
  'leave the parcel with the neighbours when nobody answers, and ring twice before going away again. '.repeat(3)
