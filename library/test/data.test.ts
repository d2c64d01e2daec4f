import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as v from 'valibot'
import * as z from 'zod'
import { noData, pick, sections, type StandardSchema } from '../src/data.ts'
import { ConfigError, DataError } from '../src/errors.ts'

const plain = sections(undefined, 65_536)
const name = fc.stringMatching(/^[A-Za-z][\w.-]{0,8}$/)

/** A JSON value as other programs may have written it: any whitespace, escapes, number and member order. */
const blank = fc.stringMatching(/^[ \t\r\n]{0,3}$/)
const number = fc.constantFrom('1.0', '12345678901234567890', '-0', '1e400', '1E-7', '0.10', '-12.5e+3')
const text = fc.constantFrom(
  '""',
  '"\\u0061"',
  '"\\""',
  '"\\\\"',
  '"{,}:[]"',
  '"\\ud800"',
  '"é\u2028😀"',
  '"\\/"',
  '"__proto__"',
)
const spaced = (value: fc.Arbitrary<string>) => fc.tuple(blank, value, blank).map((parts) => parts.join(''))
const { value: written } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    number,
    text,
    fc.constantFrom('true', 'false', 'null', '{}', '[]', '{"__proto__":{"a":1}}', '{"a":1,"a":2}'),
    fc.array(spaced(tie('value')), { maxLength: 3 }).map((items) => `[${items.join(',')}]`),
    fc
      .array(fc.tuple(spaced(text), spaced(tie('value'))), { maxLength: 3 })
      .map((pairs) => `{${pairs.map((pair) => pair.join(':')).join(',')}}`),
  ),
}))
const document = fc.array(fc.tuple(name, written, blank), { maxLength: 6 }).map((members) => {
  const unique = new Map(members.map(([key, value, space]) => [key, { value, space }]))
  const raw = [...unique]
    .map(([key, { value, space }]) => `${space}"${key}"${space}:${space}${value}${space}`)
    .join(',')
  return { raw: `{${raw}}`, values: new Map([...unique].map(([key, { value }]) => [key, value])) }
})

test('a section is written alone; every other one stays byte for byte', async () => {
  await fc.assert(
    fc.asyncProperty(document, name, fc.jsonValue(), async ({ raw, values }, section, value) => {
      const { data } = await plain.write(raw, section, value)
      for (const [other, bytes] of values) {
        if (other !== section) assert.equal(pick(data, [other]), `{"${other}":${bytes}}`)
      }
      assert.deepEqual(await plain.read(data, section), JSON.parse(JSON.stringify(value)))
      assert.deepEqual(new Set(Object.keys(JSON.parse(data))), new Set([...values.keys(), section]))
    }),
    { numRuns: 2000 },
  )
})

test('a section that is removed is gone, and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(document, name, async ({ raw, values }, extra) => {
      const section = [...values.keys()][0] ?? extra
      const { data } = await plain.write(raw, section, undefined)
      assert.equal(await plain.read(data, section), undefined)
      for (const [other, bytes] of values)
        if (other !== section) assert.equal(pick(data, [other]), `{"${other}":${bytes}}`)
    }),
    { numRuns: 1000 },
  )
})

test('what is carried along is carried byte for byte, and only that', async () => {
  fc.assert(
    fc.property(document, fc.array(name), ({ raw, values }, extra) => {
      const wanted = [...values.keys()].filter((_, i) => i % 2 === 0)
      const expected = wanted.map((key) => `"${key}":${values.get(key)!}`).join(',')
      assert.equal(pick(raw, [...wanted, ...extra.filter((key) => !values.has(key))]), `{${expected}}`)
    }),
  )
})

test('a member written twice counts as its last, and is removed or replaced whole', async () => {
  const twice = '{"a":1,"b":0,"a":2}'
  assert.equal(await plain.read(twice, 'a'), 2)
  assert.equal(await plain.read((await plain.write(twice, 'a', undefined)).data, 'a'), undefined)
  assert.equal(Object.keys(JSON.parse((await plain.write(twice, 'a', 3)).data)).length, 2)
  assert.equal((await plain.write(twice, 'a', 3)).data.match(/"a"/g)!.length, 1)
})

test('numbers that JavaScript would change stay as another service wrote them', async () => {
  const { data } = await plain.write('{"total":12345678901234567890,"rate":1.0}', 'cart', [])
  assert.equal(data, '{"total":12345678901234567890,"rate":1.0,"cart":[]}')
})

test('an own `__proto__` member is kept and pollutes nothing', async () => {
  const value = JSON.parse('{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}')
  const { data } = await plain.write(noData, 'profile', value)
  const read = (await plain.read(data, 'profile')) as Record<string, unknown>
  assert.deepEqual(Object.keys(read), ['__proto__', 'constructor'])
  assert.equal(({} as { admin?: boolean }).admin, undefined)
})

test('no section is called by the name of something every object has', async () => {
  assert.equal(await plain.read(noData, 'constructor'), undefined)
  assert.equal(await plain.read(noData, 'toString'), undefined)
  await assert.rejects(plain.write(noData, '__proto__', 1), DataError)
  const { data } = await plain.write(noData, 'constructor', 1)
  assert.equal(data, '{"constructor":1}')
})

for (const bad of ['', '1a', '_a', 'a b', 'a"b', 'ä', 'a'.repeat(65), 'a\n']) {
  test(`${JSON.stringify(bad.slice(0, 10))} is no section name`, async () => {
    await assert.rejects(plain.write(noData, bad, 1), (error) => error instanceof DataError && error.code === 'data')
    await assert.rejects(plain.read(noData, bad), DataError)
    assert.throws(() => sections({ [bad]: z.any() }, 100), ConfigError)
  })
}

test('what JSON can not keep is refused with the reason', async () => {
  const circular: unknown[] = []
  circular.push(circular)
  let deep: unknown = 0
  for (let i = 0; i < 100_000; i++) deep = [deep]
  for (const value of [1n, circular, deep]) {
    await assert.rejects(
      plain.write(noData, 'a', value),
      (error) => error instanceof DataError && error.statusCode === 422,
    )
  }
})

test('the value that is answered is the one that can be read again, not the one that was given', async () => {
  const { value } = await plain.write(noData, 'a', { at: new Date(0), gone: undefined, nan: Number.NaN })
  assert.deepEqual(value, { at: '1970-01-01T00:00:00.000Z', nan: null })
})

test('lone surrogates survive', async () => {
  const { data } = await plain.write(noData, 'a', '\ud800')
  assert.ok(data.isWellFormed())
  assert.equal(await plain.read(data, 'a'), '\ud800')
})

test('data is refused whole when all sections together take more bytes of UTF-8 than allowed', async () => {
  const limited = sections(undefined, 100)
  const overhead = '{"a":"","b":""}'.length
  const { data } = await limited.write(noData, 'a', 'x'.repeat(40))
  const exact = await limited.write(data, 'b', 'x'.repeat(100 - overhead - 40))
  assert.equal(exact.data.length, 100)
  await assert.rejects(
    limited.write(data, 'b', 'x'.repeat(101 - overhead - 40)),
    (error) =>
      error instanceof DataError &&
      error.code === 'data-too-large' &&
      error.statusCode === 413 &&
      error.section === 'b',
  )
  // 30 euro signs are 30 characters and 90 bytes.
  await limited.write(noData, 'a', '€'.repeat(30))
  await assert.rejects(limited.write(noData, 'a', '€'.repeat(31)), DataError)
  await assert.rejects(limited.write(noData, 'a', '😀'.repeat(24)), DataError)
})

test('by default that is 64 KiB', async () => {
  await plain.write(noData, 'a', 'x'.repeat(65_536 - '{"a":""}'.length))
  await assert.rejects(plain.write(noData, 'a', 'x'.repeat(65_537 - '{"a":""}'.length)), DataError)
  await assert.rejects(plain.write(noData, 'a', 'x'.repeat(10_000_000)), DataError)
})

const isCount: StandardSchema<number> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: async (value) => {
      await Promise.resolve()
      return typeof value === 'number' ? { value } : { issues: [{ message: 'no number', path: [{ key: 'deep' }, 0] }] }
    },
  },
}

const schemas = {
  zod: z.object({ count: z.number() }).default({ count: 0 }),
  valibot: v.optional(v.object({ count: v.number() }), { count: 0 }),
  async: isCount,
}

test('zod, valibot and asynchronous schemas say what fits', async () => {
  const typed = sections(schemas, 1000)
  assert.deepEqual(await typed.read(noData, 'zod'), { count: 0 })
  assert.deepEqual(await typed.read(noData, 'valibot'), { count: 0 })
  const { data } = await typed.write(noData, 'async', 1)
  assert.equal(await typed.read(data, 'async'), 1)
  for (const section of ['zod', 'valibot'] as const) {
    await assert.rejects(typed.write(noData, section, { count: 'many' }), (error) => {
      assert.ok(error instanceof DataError)
      assert.equal(error.code, 'data')
      assert.deepEqual(
        error.issues.map(({ path }) => path),
        [['count']],
      )
      assert.match(error.message, new RegExp(`^section '${section}' does not fit its schema: ${section}\\.count: `))
      return true
    })
  }
  await assert.rejects(typed.write(noData, 'async', 'x'), (error) => {
    assert.ok(error instanceof DataError)
    assert.deepEqual(error.issues, [{ message: 'no number', path: ['deep', 0] }])
    return true
  })
})

test('data that no longer fits its schema says where, and can still be replaced', async () => {
  const typed = sections(schemas, 1000)
  const old = '{"zod":{"count":"many"}}'
  await assert.rejects(typed.read(old, 'zod'), DataError)
  assert.deepEqual((await typed.write(old, 'zod', { count: 1 })).data, '{"zod":{"count":1}}')
})

test('an empty section whose schema has no default says what to do about it', async () => {
  await assert.rejects(
    sections({ a: z.string() }, 100).read(noData, 'a'),
    /section 'a' is empty and its schema has no default/,
  )
})

test('a section that was not declared is refused by name', async () => {
  const typed = sections({ cart: z.array(z.string()).default([]) }, 1000)
  await assert.rejects(typed.read(noData, 'profile'), /section 'profile' is not declared here/)
  await assert.rejects(typed.write(noData, 'toString', 1), /section 'toString' is not declared here/)
})

test('what is no schema is refused at start-up, by name', () => {
  assert.throws(() => sections({ cart: {} as StandardSchema }, 100), /data\.cart: expected a Standard Schema/)
  assert.throws(() => sections({ cart: null as unknown as StandardSchema }, 100), /data\.cart/)
})

test('stored data that is no JSON is left as it is', async () => {
  for (const broken of ['', '{', '{"a":', 'nonsense', '{"a":1}}']) {
    await assert.rejects(plain.read(broken, 'a'), DataError)
    await assert.rejects(plain.write(broken, 'a', 1), DataError)
  }
})

test('stored data that is no object is left as it is', async () => {
  for (const foreign of ['[]', 'null', '"text"', '7', '["a"]']) {
    await assert.rejects(plain.read(foreign, 'a'), DataError, foreign)
    await assert.rejects(plain.write(foreign, 'a', 1), DataError, foreign)
  }
})
