// Stores under concurrency: generated clients work at once, and what they saw must have an explanation one call at a time.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { SessionRecord, Store } from '../store.ts'
import type { StoreRule, StoreUnderTest } from './store.ts'
import { clients, randomText, session } from './store-fixtures.ts'

export const historyRules: readonly StoreRule[] = [
  { name: 'whatever the interleaving, it is as if calls came one at a time', check: interleavings },
]

/** What a client does next. `slot` names one of a few sessions, `guess` a version for when the client has not seen one. */
interface Step {
  readonly kind: 'start' | 'update' | 'end-if' | 'delete' | 'get' | 'list'
  readonly slot: number
  readonly guess: number
  readonly pause: 'none' | 'microtask' | 'turn'
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.oneof(
    { weight: 3, arbitrary: fc.constant('start' as const) },
    { weight: 5, arbitrary: fc.constant('update' as const) },
    { weight: 1, arbitrary: fc.constantFrom('end-if' as const, 'delete' as const) },
    { weight: 3, arbitrary: fc.constantFrom('get' as const, 'list' as const) },
  ),
  slot: fc.nat({ max: 2 }),
  guess: fc.integer({ min: 1, max: 3 }),
  pause: fc.constantFrom('none', 'none', 'microtask', 'turn'),
})

async function interleavings(t: StoreUnderTest): Promise<void> {
  const [one, two] = await clients(t)
  const stores = [one, two, (await t.another?.()) ?? one]
  const scripts = fc.tuple(...stores.map(() => fc.array(step, { minLength: 3, maxLength: 12 })))
  await fc.assert(
    fc.asyncProperty(scripts, async (plan) => {
      const run = new Run(t)
      await Promise.all(plan.map((steps, i) => run.client(stores[i]!, steps)))
      for (const [id, calls] of run.history) {
        assert.ok(hasExplanation(calls), `no order of these calls explains their answers:\n${describe(id, calls)}`)
      }
    }),
    // What fails by chance of timing can't be made smaller by trying again.
    { numRuns: 60, endOnFailure: true, includeErrorInReport: true },
  )
}

/** One call and its answer, as far as it is about one session. States are the tags that the writes left. */
export interface Call {
  readonly beganAt: number
  readonly endedAt: number
  readonly what:
    | { kind: 'read'; saw: string | null }
    | { kind: 'write'; expected: number | null; version: number; tag: string | null; done: boolean }
    | { kind: 'delete'; found: boolean }
}

class Run {
  readonly history = new Map<string, Call[]>()
  readonly #t: StoreUnderTest
  readonly #userId = `user-${randomText(6)}`
  readonly #ids = Array.from({ length: 3 }, () => randomText(16))
  readonly #started = new Set<string>()
  #time = 0

  constructor(t: StoreUnderTest) {
    this.#t = t
    for (const id of this.#ids) this.history.set(id, [])
  }

  async client(store: Store, steps: readonly Step[]): Promise<void> {
    const seen = new Map<string, number>()
    for (const step of steps) {
      if (step.pause === 'microtask') await Promise.resolve()
      if (step.pause === 'turn') await new Promise((resolve) => setImmediate(resolve))
      await this.#do(store, step, seen)
    }
  }

  async #do(store: Store, { kind, slot, guess }: Step, seen: Map<string, number>): Promise<void> {
    const id = this.#ids[slot]!
    const beganAt = this.#time++
    const record = (call: Call['what'], of = id) =>
      this.history.get(of)!.push({ beganAt, endedAt: this.#time++, what: call })
    const put = async (expected: number | null, ends: boolean) => {
      const version = (expected ?? 0) + 1
      const tag = ends ? null : `${version}:${randomText(4)}`
      const done = await store.put(this.#record(id, version, tag), expected)
      record({ kind: 'write', expected, version, tag, done })
      if (done) seen.set(id, version)
    }
    switch (kind) {
      case 'start':
        // Ids are not used twice, so only one client ever starts a session.
        if (this.#started.has(id)) return
        this.#started.add(id)
        return put(null, false)
      case 'update':
        return put(seen.get(id) ?? guess, false)
      case 'end-if':
        return put(seen.get(id) ?? guess, true)
      case 'delete':
        return void record({ kind: 'delete', found: (await store.delete([id])).includes(id) })
      case 'get': {
        const found = await store.get(id)
        if (found !== null) seen.set(id, found.version)
        return void record({ kind: 'read', saw: found?.data ?? null })
      }
      case 'list': {
        const found = new Map((await store.listByUser(this.#userId)).map(({ id, data }) => [id, data]))
        for (const of of this.#ids) record({ kind: 'read', saw: found.get(of) ?? null }, of)
      }
    }
  }

  #record(id: string, version: number, tag: string | null): SessionRecord {
    const record = session(this.#t, { id, userId: this.#userId, version, data: tag ?? '' })
    return tag === null ? { ...record, expiresAt: 0 } : record
  }
}

/**
 * Whether the calls have an order that keeps to real time (what ended before another began comes first) in which a store that
 * does one thing at a time gives the same answers. The search of Wing and Gong, remembering where it has been.
 */
export function hasExplanation(calls: readonly Call[]): boolean {
  const been = new Set<string>()
  const search = (open: readonly Call[], state: string | null): boolean => {
    if (open.length === 0) return true
    const place = `${open.map((call) => calls.indexOf(call)).join()} ${state}`
    if (been.has(place)) return false
    been.add(place)
    const mustBeginBefore = Math.min(...open.map(({ endedAt }) => endedAt))
    return open.some((call) => {
      if (call.beganAt > mustBeginBefore) return false
      const after = apply(call.what, state)
      return (
        after !== undefined &&
        search(
          open.filter((other) => other !== call),
          after,
        )
      )
    })
  }
  return search(calls, null)
}

/** The state after the call, or `undefined` when the call's answer does not fit the state. */
function apply(what: Call['what'], state: string | null): string | null | undefined {
  const version = state === null ? null : Number(state.split(':')[0])
  switch (what.kind) {
    case 'read':
      return what.saw === state ? state : undefined
    case 'delete':
      return what.found === (state !== null) ? null : undefined
    case 'write':
      if (what.done !== (what.expected === version)) return undefined
      return what.done ? what.tag : state
  }
}

function describe(id: string, calls: readonly Call[]): string {
  return [id, ...calls.map(({ beganAt, endedAt, what }) => `${beganAt}–${endedAt} ${JSON.stringify(what)}`)].join('\n')
}
