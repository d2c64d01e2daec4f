// Bodies: from bytes to values, and what is checked of them before a call sees them.
import { parse as parseForm } from 'node:querystring'
import type { z } from 'zod'
import { invalid, Problem } from '../problems.ts'
import type { App } from '../server.ts'
import { parseJson } from './json.ts'

export function addBodies(app: App): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    parsed(done, () => {
      if (request.routeOptions.config.form === true)
        throw unsupported('this call takes application/x-www-form-urlencoded')
      return body.length === 0 ? undefined : parseJson(body as Buffer)
    })
  })
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'buffer' }, (request, body, done) => {
    parsed(done, () => {
      if (request.routeOptions.config.form !== true) throw unsupported('this call takes application/json')
      return readForm(body.toString('utf8'))
    })
  })
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The body is a form, as OAuth has it, and not JSON. */
    form?: boolean
  }
}

function parsed(done: (error: Error | null, body?: unknown) => void, parse: () => unknown): void {
  let body: unknown
  try {
    body = parse()
  } catch (error) {
    done(error as Error)
    return
  }
  done(null, body)
}

function unsupported(detail: string): Problem {
  return new Problem(415, 'unsupported-media-type', detail)
}

function readForm(text: string): Record<string, string> {
  const fields = Object.entries(parseForm(text, '&', '=', { maxKeys: 50 }))
  // RFC 6749, section 3.2: none may come twice.
  const twice = fields.find(([, value]) => Array.isArray(value))
  if (twice !== undefined) throw invalid([{ path: `body.${twice[0].slice(0, 100)}`, message: 'must be given once' }])
  return Object.fromEntries(fields) as Record<string, string>
}

const places: Record<string, string> = { querystring: 'query', params: 'path' }

/** Compiles a schema for Fastify. `httpPart` is not known here; `addPlace` adds it. */
export function validate(schema: unknown): (data: unknown) => { value: unknown } | { error: Error } {
  const type = schema as z.ZodType
  return (data) => {
    const result = type.safeParse(data)
    return result.success ? { value: result.data } : { error: new InvalidInput(result.error.issues) }
  }
}

/** What zod found wrong; Fastify adds which part of the request it was. */
export class InvalidInput extends Error {
  readonly statusCode = 400
  readonly found: readonly z.core.$ZodIssue[]
  validationContext?: string

  constructor(found: readonly z.core.$ZodIssue[]) {
    super('invalid input')
    this.found = found
  }

  problem(): Problem {
    const part = this.validationContext ?? 'body'
    const place = places[part] ?? part
    return invalid(this.found.flatMap((issue) => describeIssue(place, issue)))
  }
}

function describeIssue(place: string, issue: z.core.$ZodIssue): { path: string; message: string }[] {
  const path = [place, ...issue.path.map((part) => String(part).slice(0, 100))].join('.')
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: `${path}.${key.slice(0, 100)}`, message: 'there is no such field' }))
  }
  if (issue.code === 'invalid_key') return [{ path, message: issue.issues[0]?.message ?? issue.message }]
  return [{ path, message: issue.message.replace(/^Invalid input: /, '') }]
}
