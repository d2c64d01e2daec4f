// What every kind of sessions owes a chain of calls: what one service asserts to the next is never more than it has itself.
import assert from 'node:assert/strict'
import { SessionGoneError } from '../errors.ts'
import type { Session } from '../session.ts'
import { newUser, processes, refusedInTime, type ContractData } from './sessions-fixtures.ts'
import type { SessionsRule, SessionsUnderTest } from './sessions.ts'

/** A clerk's session, asserted from one process to the other. */
async function chain(t: SessionsUnderTest, scope?: readonly string[]) {
  const [here, there] = await processes(t)
  const own = await here.start(newUser(), { roles: ['clerk'], amr: ['pwd'], data: { visits: 1 } })
  const session = await here.open(own.token)
  const assertion = await here.assertionFor(session, t.service!, { scope })
  return { here, there, own, session, assertion, arrived: await there.open(assertion) }
}

const cans = (session: Session<ContractData>) => ['orders:read', 'orders:write', 'other'].map((one) => session.can(one))

export const assertingRules: Record<string, SessionsRule['check']> = {
  async 'asserted: it opens the session in the process that is called, as who the user is'(t) {
    const { session, arrived } = await chain(t)
    for (const key of ['id', 'userId', 'roles', 'amr', 'client', 'epoch', 'refused'] as const)
      assert.deepEqual(arrived[key], session[key], key)
    assert.deepEqual([session.via, arrived.via?.callers], [null, [t.service]])
    assert.deepEqual(cans(arrived), cans(session))
    assert.ok(arrived.via!.expiresAt <= Date.now() + 60_000)
  },

  async 'asserted: on the way it can only lose permissions, and no time is won'(t) {
    const { here, there, arrived } = await chain(t, ['orders:read', 'other'])
    assert.deepEqual(cans(arrived), [true, false, false])
    // What is learnt of the session meanwhile widens nothing.
    assert.equal(await arrived.read('visits'), 1)
    assert.equal(await arrived.update('visits', (n) => n + 1), 2)
    const next = await here.open(await there.assertionFor(arrived, t.service!))
    assert.deepEqual(next.via, { ...arrived.via, callers: [t.service, t.service] })
    assert.deepEqual(cans(next), [true, false, false])
    const last = await there.open(await here.assertionFor(next, t.service!, { scope: ['orders:write'] }))
    assert.deepEqual(cans(last), [false, false, false])
  },

  async 'asserted: when the session ends so does whatever came of it, and nothing new comes'(t) {
    const { here, there, own, session, assertion, arrived } = await chain(t)
    const next = await there.assertionFor(arrived, t.service!)
    assert.equal((await here.open(next)).refused, null)
    await here.end(own.session.id!)
    for (const [sessions, token] of [
      [here, next],
      [there, assertion],
    ] as const)
      await refusedInTime(t, sessions, token)
    await assert.rejects(here.assertionFor(session, t.service!), SessionGoneError)
    await assert.rejects(here.assertionFor(own.session, t.service!), SessionGoneError)
    await assert.rejects(there.assertionFor(arrived, t.service!), SessionGoneError)
  },

  async 'asserted: it signs nobody in, and is no refresh token'(t) {
    const { there, own, assertion, arrived } = await chain(t)
    await assert.rejects(arrived.signIn(arrived.userId!, { roles: ['clerk'] }), { code: 'forbidden' })
    assert.equal((await there.refresh(assertion)).tokens, null)
    assert.equal((await there.open(own.token)).refused, null)
  },

  async 'asserted: a session that was found by its id can be acted for, too, and a signed-in one at once'(t) {
    const { here, there, own } = await chain(t)
    const found = await here.get(own.session.id!)
    assert.equal((await there.open(await here.assertionFor(found!, t.service!))).id, own.session.id)
    const { session } = own
    await session.signIn(session.userId!)
    const anew = await there.open(await here.assertionFor(session, t.service!))
    assert.deepEqual([anew.refused, anew.id], [null, session.id])
  },

  async 'asserted: to a service of another name it opens nothing'(t) {
    const { there, here, session } = await chain(t)
    assert.equal((await there.open(await here.assertionFor(session, 'another'))).refused, 'audience')
  },

  async 'asserted: what can not be asserted is refused by name'(t) {
    const { here, session } = await chain(t)
    const { service } = t as { service: string }
    await assert.rejects(async () => here.assertionFor(session, ''), TypeError)
    await assert.rejects(async () => here.assertionFor(session, service, { scope: ['*:read'] }), /'\*:read'/)
    await assert.rejects(async () => here.assertionFor(session, service, { scope: ['a b'] }), TypeError)
    await assert.rejects(here.assertionFor(await here.open('x'), service), { code: 'unauthenticated' })
    let at = session
    for (let i = 0; i < 8; i++) at = await here.open(await here.assertionFor(at, service))
    assert.equal(at.via!.callers.length, 8)
    await assert.rejects(here.assertionFor(at, service), { code: 'forbidden' })
  },
}
