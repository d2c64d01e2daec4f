// That a contract can fail: against what breaks a promise it goes red, at the rule that names the promise, and against what is right it does not.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

/** What is broken → how, and the name of a rule that has to notice. */
export type Broken<T> = Readonly<Record<string, { readonly make: () => T; readonly noticedBy: RegExp }>>

interface Rule<T> {
  readonly name: string
  readonly check: (t: T) => Promise<void>
}

/** What waits for longer waits for what never comes. */
const patienceMs = 20_000

export function testContract<T>(contract: readonly Rule<T>[], broken: Broken<T>, right: () => T): void {
  const noticed = new Set<string>()

  // Most of the time is spent on waiting for what never comes.
  describe('the contract notices', { concurrency: 8 }, () => {
    for (const [what, { make, noticedBy }] of Object.entries(broken)) {
      test(what, async () => {
        const red = await redRules(contract, make)
        for (const name of red) noticed.add(name)
        assert.ok(
          red.some((name) => noticedBy.test(name)),
          `only these went red: ${red.join('; ') || 'none'}`,
        )
      })
    }
  })

  test('every rule of the contract notices something', () => {
    assert.deepEqual(
      contract.map(({ name }) => name).filter((name) => !noticed.has(name)),
      [],
    )
  })

  test('what is right passes', async () => {
    assert.deepEqual(await redRules(contract, right), [])
  })
}

async function redRules<T>(contract: readonly Rule<T>[], make: () => T): Promise<readonly string[]> {
  const verdicts = await Promise.all(
    contract.map(async ({ name, check }) => ((await isGreen(check(make()))) ? [] : [name])),
  )
  return verdicts.flat()
}

async function isGreen(check: Promise<void>): Promise<boolean> {
  const { promise: tooLong, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(resolve, patienceMs, false)
  try {
    return await Promise.race([check.then(() => true), tooLong])
  } catch {
    return false
  } finally {
    clearTimeout(timer)
  }
}
