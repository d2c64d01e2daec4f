// The strict reading of JSON agrees with JSON.parse on what JSON is.
import assert from 'node:assert/strict'
import { it } from 'node:test'
import fc from 'fast-check'
import { parseJson } from '../src/http/json.ts'
import { Problem } from '../src/problems.ts'

const parse = (text: string) => parseJson(Buffer.from(text))

function problemOf(text: string): Problem {
  try {
    parse(text)
  } catch (error) {
    assert.ok(error instanceof Problem)
    return error
  }
  throw new Error(`accepted ${text}`)
}

it('gives what JSON.parse gives', () => {
  const value = fc.jsonValue({ maxDepth: 5, noUnicodeString: false })
  fc.assert(
    fc.property(value, fc.boolean(), (value, pretty) => {
      const text = JSON.stringify(value, null, pretty ? 2 : 0)
      fc.pre(!/__proto__|constructor/.test(text))
      assert.deepEqual(parse(text), JSON.parse(text))
    }),
  )
})

it('refuses a text with a letter too many or too few just when JSON.parse does, and points into it', () => {
  const letters = fc.constantFrom(...'{ } [ ] " , : \\ 0 - 9 e E . t f n \n \t u x \u0001 é'.split(' '), ' ')
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), fc.nat(), fc.option(letters), (json, where, letter) => {
      const at = where % (json.length + 1)
      const text =
        letter === null ? json.slice(0, at) + json.slice(at + 1) : json.slice(0, at) + letter + json.slice(at)
      fc.pre(text.isWellFormed())
      let good = true
      try {
        JSON.parse(text)
      } catch {
        good = false
      }
      if (good) return
      const { message } = problemOf(text)
      const position = Number(/position (\d+)/.exec(message)?.[1])
      assert.ok(position >= 0 && position <= text.length, message)
      // What stands before the place may begin a JSON text; what stands there can't go on.
      assert.ok(/it ends too early/.test(message) === position >= text.length, message)
    }),
    { numRuns: 2000 },
  )
})

it('does not quote what it refuses', () => {
  for (const text of ['{"token":"secret" x', '{"secret"', '{"__proto__":"secret"}', '"secret\\ud800"']) {
    assert.ok(!problemOf(text).message.includes('secret'))
  }
})
