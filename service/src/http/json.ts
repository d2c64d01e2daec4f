// JSON bodies, strictly: valid UTF-8, bounded depth, no keys that meddle with prototypes, nothing that a store would change.
import { isUtf8 } from 'node:buffer'
import { Problem } from '../problems.ts'

/** Arrays and objects inside each other. Bounds every recursion over what was sent. */
export const maxDepth = 64

/** The value of a body, or a `Problem` that says what is wrong with it and where. Linear in the length of the body. */
export function parseJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw broken('the body is not UTF-8')
  const text = body.toString('utf8')
  checkDepth(text)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw broken(`the body is not JSON: ${place(text, whereBroken(text))}`)
  }
  // Only such texts can hold one of the things that are refused.
  if (/\\u|__proto__|constructor|[0-9][eE]|[0-9]{300}/.test(text)) checkValues(value)
  return value
}

/** Before anything recurses. */
function checkDepth(text: string): void {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (inString) {
      if (c === backslash) i++
      else if (c === quote) inString = false
    } else if (c === quote) inString = true
    else if (c === openBracket || c === openBrace) {
      if (++depth > maxDepth) throw broken(`the body is nested deeper than ${maxDepth}: ${place(text, i)}`)
    } else if (c === closeBracket || c === closeBrace) depth--
  }
}

const quote = 34
const backslash = 92
const openBracket = 91
const closeBracket = 93
const openBrace = 123
const closeBrace = 125

function checkValues(value: unknown): void {
  if (typeof value === 'string' && !value.isWellFormed())
    throw broken('a text has a lone surrogate, which has no form in UTF-8')
  if (value === Infinity || value === -Infinity) throw broken('a number is too large for a double')
  if (typeof value !== 'object' || value === null) return
  for (const [key, member] of Object.entries(value)) {
    if (key === '__proto__' || key === 'constructor') throw broken(`'${key}' is not taken as a key`)
    if (!key.isWellFormed()) throw broken('a key has a lone surrogate, which has no form in UTF-8')
    checkValues(member)
  }
}

/** Where a text stops being JSON. JSON.parse tells it only sometimes. */
function whereBroken(text: string): number {
  const open: string[] = []
  let at = 0
  // What may come next: a value; a value or the end of an array; a key; a key or the end of an object; a comma or an end.
  let next: 'value' | 'first' | 'key' | 'first-key' | 'after' = 'value'
  for (;;) {
    at = skip(space, text, at)
    const c = text[at]
    if (next === 'after') {
      const inside = open.at(-1)
      if (c === ',' && inside !== undefined) next = inside === '{' ? 'key' : 'value'
      else if (inside !== undefined && c === closers[inside]) open.pop()
      else return at
      at++
    } else if (next === 'key' || next === 'first-key') {
      if (next === 'first-key' && c === '}') {
        open.pop()
        next = 'after'
        at++
        continue
      }
      const end = skip(string, text, at)
      const colon = skip(space, text, end)
      if (end === at) return at
      if (text[colon] !== ':') return colon
      at = colon + 1
      next = 'value'
    } else if (c === '{' || c === '[') {
      open.push(c)
      next = c === '{' ? 'first-key' : 'first'
      at++
    } else if (c === ']' && next === 'first') {
      open.pop()
      next = 'after'
      at++
    } else {
      const end = skip(scalar, text, at)
      if (end === at) return at
      at = end
      next = 'after'
    }
  }
}

const closers: Record<string, string> = { '{': '}', '[': ']' }
const space = /[ \t\r\n]*/y
const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"/y
const scalar =
  /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y

/** Where the pattern, if it is there, ends. */
function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : at
}

/** Never quotes the text, which may hold a secret. */
function place(text: string, at: number): string {
  if (at >= text.length) return `it ends too early, at position ${text.length}`
  const line = text.slice(0, at).split('\n')
  return `position ${at} (line ${line.length}, column ${line.at(-1)!.length + 1})`
}

function broken(detail: string): Problem {
  return new Problem(400, 'invalid-json', detail)
}
