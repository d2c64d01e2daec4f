// Sections ⇄ the data string of a record. A section is read and written alone; every other one stays byte for byte.
import { ConfigError, DataError, type DataIssue } from './errors.ts'

/** The part of Standard Schema (https://standardschema.dev) that is used; zod, valibot, arktype and others have it. */
export interface StandardSchema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined
  }
}
type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[] }

/** Section name → its schema, which must accept as JSON what it returns. */
export type Schemas = Readonly<Record<string, StandardSchema>>

/** Section name → the type of its value. */
export type DataOf<S extends Schemas> = {
  [K in keyof S]: S[K] extends StandardSchema<infer Output> ? Output : never
}

/** Reads and writes sections of a data string. Both reject with `DataError`. */
export interface Sections {
  /** Throws `DataError` unless `section` is one that may be used here. */
  check(section: string): void
  /** An absent section is `undefined` to its schema, which may have a default for it. */
  read(data: string, section: string): Promise<unknown>
  /** The data with the section changed, and the value as `read` would give it. `undefined` removes the section. */
  write(data: string, section: string, value: unknown): Promise<{ data: string; value: unknown }>
  /** The data of a session that begins with these sections. */
  compose(values: Readonly<Record<string, unknown>>): Promise<string>
}

export const noData = '{}'

/** Without `schemas` every section may be used, as plain JSON. `maxBytes` counts all sections together, in UTF-8. */
export function sections(schemas: Schemas | undefined, maxBytes: number): Sections {
  for (const [name, schema] of Object.entries(schemas ?? {})) {
    if (!sectionName.test(name)) throw new ConfigError(`data: ${badName(name)}`)
    if (typeof schema?.['~standard']?.validate !== 'function') {
      throw new ConfigError(`data.${name}: expected a Standard Schema, such as one of zod, valibot or arktype`)
    }
  }

  async function validated(section: string, value: unknown): Promise<unknown> {
    if (schemas === undefined) return value
    const checked = schemas[section]!['~standard'].validate(value)
    const result = 'then' in checked ? await checked : checked
    // A schema may hand out the same default every time, and callers change what they are given.
    if (result.issues === undefined) return value === undefined ? structuredClone(result.value) : result.value
    const issues = result.issues.map(({ message, path }) => ({ message, path: (path ?? []).map(key) }))
    throw new DataError('data', section, explain(section, value, issues), issues)
  }

  function checkName(section: string): void {
    if (schemas !== undefined && !Object.hasOwn(schemas, section)) {
      throw new DataError(
        'data',
        section,
        `section '${section}' is not declared here; add it to 'data' of createSessions`,
      )
    }
    // An array of one name would pass for the name.
    if (typeof section !== 'string' || !sectionName.test(section)) {
      const named = JSON.stringify(section)
      throw new DataError('data', named, badName(named))
    }
  }

  /** The section as it is to be stored, and as it will be read: what is stored is checked, not what was given. */
  async function prepared(section: string, value: unknown): Promise<{ raw: string | undefined; readBack: unknown }> {
    checkName(section)
    const raw = stringify(section, value)
    return { raw, readBack: await validated(section, raw === undefined ? undefined : JSON.parse(raw)) }
  }

  function checkSize(data: string, section: string): void {
    // A UTF-16 code unit is at most three bytes of UTF-8.
    if (data.length * 3 <= maxBytes || new TextEncoder().encode(data).length <= maxBytes) return
    const message = `section '${section}' makes the session's data larger than ${maxBytes} bytes`
    throw new DataError('data-too-large', section, message)
  }

  return {
    check: checkName,
    async read(data, section) {
      checkName(section)
      return validated(section, valueOf(data, section))
    },
    async write(data, section, value) {
      const { raw, readBack } = await prepared(section, value)
      const changed = replace(data, section, raw)
      checkSize(changed, section)
      return { data: changed, value: readBack }
    },
    async compose(values) {
      const parts: [string, string][] = []
      for (const [section, value] of Object.entries(values)) {
        const { raw } = await prepared(section, value)
        if (raw !== undefined) parts.push([section, raw])
      }
      const data = join(parts)
      checkSize(data, parts.at(-1)?.[0] ?? '')
      return data
    },
  }
}

/** The data with only the sections in `names`, byte for byte. */
export function pick(data: string, names: readonly string[]): string {
  return join(slices(data).filter(([name]) => names.includes(name)))
}

const sectionName = /^[A-Za-z][\w.-]{0,63}$/

function badName(name: string): string {
  return `'${name.slice(0, 80)}' is no section name; use a letter, then up to 63 letters, digits, '_', '.' or '-'`
}

function valueOf(data: string, section: string): unknown {
  const all = parse(data, section)
  return Object.hasOwn(all, section) ? all[section] : undefined
}

function parse(data: string, section: string): Record<string, unknown> {
  try {
    const all: unknown = JSON.parse(data)
    if (typeof all === 'object' && all !== null && !Array.isArray(all)) return all as Record<string, unknown>
  } catch {
    // Said below, together with what is JSON but no object.
  }
  throw new DataError('data', section, 'the stored data is no JSON object; it was left as it is')
}

function stringify(section: string, value: unknown): string | undefined {
  let raw: string | undefined
  try {
    raw = JSON.stringify(value) as string | undefined
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new DataError('data', section, `section '${section}' can't be kept as JSON: ${why}`)
  }
  if (raw !== undefined || value === undefined) return raw
  throw new DataError('data', section, `section '${section}' can't be kept as JSON: it is a ${typeof value}`)
}

function replace(data: string, section: string, raw: string | undefined): string {
  parse(data, section)
  // All of that name: of a member written twice the earlier one must not come to light.
  const others = slices(data).filter(([name]) => name !== section)
  return join(raw === undefined ? others : [...others, [section, raw]])
}

function join(parts: readonly (readonly [string, string])[]): string {
  return `{${parts.map(([name, raw]) => `${JSON.stringify(name)}:${raw}`).join(',')}}`
}

/** The members of a JSON object with their values as written. `data` is known to be valid JSON. */
function slices(data: string): (readonly [name: string, raw: string])[] {
  const parts: (readonly [string, string])[] = []
  let at = data.indexOf('{') + 1
  for (;;) {
    const opens = data.indexOf('"', at)
    if (opens === -1) return parts
    const closes = endOfString(data, opens)
    const from = data.indexOf(':', closes) + 1
    const to = endOfValue(data, from)
    parts.push([JSON.parse(data.slice(opens, closes)) as string, data.slice(from, to).trim()])
    at = to + 1
    if (data[to] === '}') return parts
  }
}

/** Just past the closing quote of the string that opens at `at`. */
function endOfString(data: string, at: number): number {
  let end = at + 1
  while (data[end] !== '"') end += data[end] === '\\' ? 2 : 1
  return end + 1
}

/** At the comma or brace that ends the member whose value begins at `at`. */
function endOfValue(data: string, at: number): number {
  let depth = 0
  for (let i = at; ; i++) {
    const c = data[i]
    if (c === '"') i = endOfString(data, i) - 1
    else if (c === '{' || c === '[') depth++
    else if (depth === 0 && (c === ',' || c === '}')) return i
    else if (c === '}' || c === ']') depth--
  }
}

function key(segment: unknown): PropertyKey {
  return (
    typeof segment === 'object' && segment !== null ? (segment as { key: PropertyKey }).key : segment
  ) as PropertyKey
}

function explain(section: string, value: unknown, issues: readonly DataIssue[]): string {
  if (value === undefined)
    return `section '${section}' is empty and its schema has no default; give it one, or make it optional`
  const shown = issues.slice(0, 3).map(({ message, path }) => `${[section, ...path.map(String)].join('.')}: ${message}`)
  const more = issues.length > shown.length ? ` (and ${issues.length - shown.length} more)` : ''
  return `section '${section}' does not fit its schema: ${shown.join('; ')}${more}`
}
