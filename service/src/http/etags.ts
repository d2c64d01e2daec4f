// Entity tags of sections, and the conditions of RFC 9110, section 13, on them.
import { hash } from 'node:crypto'
import { Problem } from '../problems.ts'

/** What a writer holds a section to be. At least one of the two is given. */
export interface Condition {
  readonly ifMatch: Tags | null
  readonly ifNoneMatch: Tags | null
}
type Tags = '*' | readonly string[]

/** The strong tag of a section: of its JSON, so that a session which was merely used keeps it. `null`: there is none. */
export function etag(value: unknown): string | null {
  const json = JSON.stringify(value) as string | undefined
  return json === undefined ? null : `"${hash('sha256', json, 'base64url').slice(0, 22)}"`
}

/** The condition in the headers; a `Problem` (428) when there is none. */
export function readCondition(headers: Headers): Condition {
  const condition = {
    ifMatch: tags('If-Match', headers['if-match']),
    ifNoneMatch: tags('If-None-Match', headers['if-none-match']),
  }
  if (condition.ifNoneMatch !== null && condition.ifNoneMatch !== '*') {
    throw new Problem(400, 'invalid-request', 'If-None-Match: a writer can only say *, for a section that is new')
  }
  if (condition.ifMatch === null && condition.ifNoneMatch === null) {
    const detail = 'say what you change: If-Match with the ETag you read, or If-None-Match: * for a section that is new'
    throw new Problem(428, 'precondition-required', detail)
  }
  return condition
}
interface Headers {
  readonly 'if-match'?: string | undefined
  readonly 'if-none-match'?: string | undefined
}

/** Throws a `Problem` (412) unless the condition holds for what is stored now. */
export function check({ ifMatch, ifNoneMatch }: Condition, current: unknown): void {
  const tag = etag(current)
  const matches = (tags: Tags) => tag !== null && (tags === '*' || tags.includes(tag))
  const holds = (ifMatch === null || matches(ifMatch)) && (ifNoneMatch === null || !matches(ifNoneMatch))
  if (holds) return
  const now = tag === null ? 'there is no such section' : `its ETag is ${tag}`
  throw new Problem(
    412,
    'precondition-failed',
    `the section was changed by somebody else: ${now}`,
    tag === null ? {} : { headers: { etag: tag } },
  )
}

/** Whether a reader has the section already. */
export function isFresh(header: string | undefined, tag: string): boolean {
  const known = tags('If-None-Match', header)
  // Readers compare weakly: what a proxy made of the tag will do.
  return known === '*' || (known?.some((one) => one.replace(/^W\//, '') === tag) ?? false)
}

function tags(name: string, header: string | undefined): Tags | null {
  if (header === undefined) return null
  if (header.trim() === '*') return '*'
  const found = header.split(',').map((tag) => tag.trim())
  if (found.every((tag) => /^(W\/)?"[\x21\x23-\x7e]*"$/.test(tag))) return found
  throw new Problem(400, 'invalid-request', `${name}: expected * or tags in double quotes, as they came in ETag`)
}
