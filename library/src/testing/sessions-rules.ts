// What every kind of sessions owes, rule by rule: on a store, or behind the session service.
import assert from 'node:assert/strict'
import { CrossSiteError, DataError, SessionGoneError } from '../errors.ts'
import { browser, comesTrue, newUser, processes, refusedInTime } from './sessions-fixtures.ts'
import type { SessionsRule } from './sessions.ts'

const rules: Record<string, SessionsRule['check']> = {
  async 'a request without a credential is anonymous, and has what the schemas say'({ sessions }) {
    const session = await browser(sessions).visit()
    const { id, userId, refused, expiresAt, remembered } = session
    assert.deepEqual([id, userId, refused, expiresAt, remembered], [null, null, null, null, false])
    assert.deepEqual(await session.read('cart'), [])
    assert.equal(session.can('orders:read'), false)
  },

  async 'what start hands out opens the session, with all that was said of it, in every process'(t) {
    const userId = newUser()
    const claims = { tenant: 'north', __proto__x: [1, { a: null }], ö: '🛒' }
    const started = await t.sessions.start(userId, {
      roles: ['shopper'],
      claims,
      amr: ['pwd', 'otp'],
      acr: 'urn:two',
      userAgent: 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36',
      address: '192.0.2.7',
      data: { cart: ['tea'] },
    })
    for (const sessions of await processes(t)) {
      const session = await sessions.open(started.token)
      assert.equal(session.refused, null)
      assert.equal(session.id, started.session.id)
      assert.equal(session.userId, userId)
      assert.deepEqual(session.roles, ['shopper'])
      assert.deepEqual(session.claims, claims)
      assert.deepEqual(session.amr, ['pwd', 'otp'])
      assert.equal(session.acr, 'urn:two')
      assert.equal(session.device?.label, 'Chrome 140 on Linux')
      assert.equal(session.device.address, '192.0.2.7')
      assert.equal(session.remembered, false)
      assert.equal(session.epoch, started.session.epoch)
      assert.equal(session.createdAt, started.session.createdAt)
      assert.equal(session.authenticatedAt, session.createdAt)
      assert.ok(session.createdAt! <= session.seenAt! && session.seenAt! < session.expiresAt!)
      assert.ok(session.expiresAt! <= session.endsAt!)
      assert.equal(session.can('orders:read'), true)
      assert.equal(session.can('orders:write'), false)
      assert.deepEqual(await session.read('cart'), ['tea'])
    }
  },

  async 'a user id that is none is refused before anything is asked'({ sessions }) {
    for (const userId of ['', 'a\nb', '\ud800', 'x'.repeat(257)]) {
      await assert.rejects(sessions.start(userId), TypeError)
      await assert.rejects(sessions.endUser(userId), TypeError)
      await assert.rejects(sessions.list(userId), TypeError)
    }
  },

  async 'a user id may hold what a path can not'({ sessions }) {
    for (const name of ['a/b', '../c', 'd?e#f', '%2e', 'g h', 'ö🛒', "i'&j"]) {
      const userId = `${newUser()}${name}`
      await sessions.start(userId)
      assert.equal((await sessions.list(userId)).length, 1, name)
      assert.equal(await sessions.endUser(userId), 1, name)
    }
  },

  async 'a credential that is not accepted opens nothing and says why'(t) {
    const { token } = await t.sessions.start(newUser())
    const flipped = `${token.slice(0, -3)}${token.at(-3) === 'A' ? 'B' : 'A'}${token.slice(-2)}`
    const unknown = `${'A'.repeat(22)}.${'A'.repeat(43)}`
    for (const [presented, reason] of [
      ['', 'malformed'],
      ['x', 'malformed'],
      [`${token} `, 'malformed'],
      [flipped, 'mismatch'],
      [unknown, 'unknown'],
    ] as const) {
      const session = await t.sessions.open(presented)
      assert.deepEqual([session.refused, session.id, session.userId], [reason, null, null], reason)
      assert.throws(() => session.require('orders:read'), { code: 'unauthenticated' })
    }
  },

  async 'a request of another site may change nothing'({ sessions }) {
    await assert.rejects(browser(sessions).visit({ 'sec-fetch-site': 'cross-site' }), CrossSiteError)
  },

  async 'the first update of a guest begins a session, whose cookie opens it in every process'(t) {
    const [here, there] = await processes(t)
    const guest = browser(here)
    const session = await guest.visit({ 'user-agent': 'curl/8.1' })
    assert.deepEqual(await session.update('cart', (cart) => [...cart, 'tea']), ['tea'])
    assert.equal(session.userId, null)
    assert.equal(session.device?.browser, 'curl 8')
    assert.equal(session.authenticatedAt, null)
    const opened = await there.open(guest.token!)
    assert.equal(opened.id, session.id)
    assert.deepEqual(await opened.read('cart'), ['tea'])
  },

  async 'two first updates of one request make one session'({ sessions }) {
    const guest = browser(sessions)
    const session = await guest.visit()
    await Promise.all([session.update('visits', (n) => n + 1), session.update('visits', (n) => n + 1)])
    assert.equal(await session.read('visits'), 2)
    assert.equal((await guest.visit()).id, session.id)
  },

  async 'no update is lost, from whichever process they come'(t) {
    const { token } = await t.sessions.start(newUser())
    const all = await processes(t)
    const writes = Array.from({ length: 16 }, async (_, i) => {
      const session = await all[i % 2]!.open(token)
      await session.update('visits', (n) => n + 1)
      await session.update('cart', (cart) => [...cart, String(i)])
    })
    await Promise.all(writes)
    const session = await t.sessions.open(token)
    assert.equal(await session.read('visits'), 16)
    assert.equal(new Set(await session.read('cart')).size, 16)
  },

  async 'an update leaves every other section as it was, and undefined removes one'({ sessions }) {
    const { session } = await sessions.start(newUser(), { data: { cart: ['tea'], note: 'hot' } })
    await session.update('visits', () => 3)
    assert.equal(await session.update('note', () => undefined), undefined)
    assert.equal(await session.update('note', () => undefined), undefined)
    assert.deepEqual(
      [await session.read('cart'), await session.read('visits'), await session.read('note')],
      [['tea'], 3, undefined],
    )
  },

  async 'what does not fit is a DataError, and nothing is written'({ sessions }) {
    const { session } = await sessions.start(newUser(), { data: { visits: 1 } })
    await assert.rejects(
      session.update('visits', () => -1),
      DataError,
    )
    await assert.rejects(
      session.update('cart', () => ['x'.repeat(70_000)]),
      { code: 'data-too-large' },
    )
    await assert.rejects(session.read('secrets' as 'cart'), DataError)
    await assert.rejects(
      session.update('..' as 'cart', () => []),
      DataError,
    )
    await assert.rejects(sessions.start(newUser(), { data: { visits: -1 } }), DataError)
    assert.equal(await session.read('visits'), 1)
  },

  async 'signing in gives a new id and credential, takes a guest’s data along, and the old credential is dead'(t) {
    const [here, there] = await processes(t)
    const guest = browser(here)
    const session = await guest.visit()
    await session.update('cart', () => ['tea'])
    const [oldId, oldToken] = [session.id!, guest.token!]
    const userId = newUser()
    const { token } = await session.signIn(userId, { roles: ['clerk'], amr: ['pwd'] })
    assert.notEqual(session.id, oldId)
    assert.equal(guest.token, token)
    assert.equal(session.userId, userId)
    assert.equal(session.can('orders:write'), true)
    assert.deepEqual(await session.read('cart'), ['tea'])
    assert.notEqual((await here.open(oldToken)).refused, null)
    await refusedInTime(t, there, oldToken)
    assert.equal((await there.open(token)).userId, userId)
    assert.equal(await here.get(oldId), null)
  },

  async 'signing in again keeps roles and data but no assurance; as another user it keeps nothing'({ sessions }) {
    const userId = newUser()
    const { session } = await sessions.start(userId, {
      roles: ['clerk'],
      acr: 'high',
      data: { cart: ['tea'], visits: 2 },
    })
    await session.signIn(userId)
    assert.deepEqual([session.roles, session.acr, await session.read('cart')], [['clerk'], null, ['tea']])
    await session.signIn(userId, { carry: ['visits'] })
    assert.deepEqual([await session.read('cart'), await session.read('visits')], [[], 2])
    await session.signIn(newUser())
    assert.deepEqual([session.roles, await session.read('visits')], [[], 0])
  },

  async 'who was signed out meanwhile does not sign in again by a request that was under way'(t) {
    const [here, there] = await processes(t)
    const userId = newUser()
    const { session } = await here.start(userId)
    await there.endUser(userId)
    await assert.rejects(session.signIn(userId), SessionGoneError)
  },

  async 'an ended session opens nowhere, and can be neither read nor written'(t) {
    const [here, there] = await processes(t)
    const { session, token } = await here.start(newUser())
    const elsewhere = await there.open(token)
    assert.equal((await here.open(token)).refused, null)
    assert.equal(await here.end(session.id!), true)
    assert.notEqual((await here.open(token)).refused, null)
    await refusedInTime(t, there, token)
    assert.equal(await here.end(session.id!), false)
    assert.equal(await here.get(session.id!), null)
    await assert.rejects(
      elsewhere.update('cart', () => ['late']),
      SessionGoneError,
    )
  },

  async 'signing out takes the cookie away'({ sessions }) {
    const guest = browser(sessions)
    await (await guest.visit()).signIn(newUser())
    const token = guest.token!
    const session = await guest.visit()
    await session.end()
    assert.deepEqual([guest.token, session.id, session.userId], [null, null, null])
    assert.notEqual((await sessions.open(token)).refused, null)
    await assert.rejects(
      session.update('cart', () => []),
      SessionGoneError,
    )
  },

  async 'a settled ending holds everywhere when it resolves'(t) {
    const [here, there] = await processes(t)
    const { session, token } = await here.start(newUser())
    assert.equal((await there.open(token)).refused, null)
    assert.equal(await here.end(session.id!, { settled: true }), true)
    assert.notEqual((await there.open(token)).refused, null)
  },

  async 'endUser ends every session of a user but one, and of nobody else'(t) {
    const [here, there] = await processes(t)
    const userId = newUser()
    const all = [await here.start(userId), await there.start(userId), await here.start(userId)]
    const other = await here.start(newUser())
    const kept = all[1]!
    for (const { token } of all) assert.equal((await here.open(token)).refused, null)
    assert.equal(await here.endUser(userId, { except: kept.session.id }), 2)
    assert.notEqual((await here.open(all[0]!.token)).refused, null)
    await refusedInTime(t, there, all[2]!.token)
    for (const { token } of [kept, other]) assert.equal((await there.open(token)).refused, null)
    assert.equal(await here.endUser(userId, { settled: true }), 1)
    assert.notEqual((await there.open(kept.token)).refused, null)
    assert.equal(await here.endUser(userId), 0)
  },

  async 'a list has the live sessions of a user, newest first, and marks the current one'(t) {
    const userId = newUser()
    const ids: string[] = []
    for (const amr of [['pwd'], ['otp'], ['hwk']]) {
      const { session } = await t.sessions.start(userId, { amr, userAgent: 'curl/8.1' })
      ids.unshift(session.id!)
      while (Date.now() <= session.createdAt!) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    await t.sessions.end(ids.pop()!)
    const list = await t.sessions.list(userId, { current: ids[1]! })
    assert.deepEqual(
      list.map(({ id, current, amr, device }) => [id, current, amr, device.browser]),
      [
        [ids[0], false, ['hwk'], 'curl 8'],
        [ids[1], true, ['otp'], 'curl 8'],
      ],
    )
  },

  async 'a session is found by its id, and by nothing else'({ sessions }) {
    const { session } = await sessions.start(newUser(), { data: { visits: 4 } })
    const found = await sessions.get(session.id!)
    assert.deepEqual([found?.userId, await found?.read('visits')], [session.userId, 4])
    for (const id of ['', '..', 'x'.repeat(22), `${session.id}/data`]) assert.equal(await sessions.get(id), null)
    for (const id of ['', '..', 'x'.repeat(22)]) assert.equal(await sessions.end(id), false)
  },

  async 'changed roles hold from the next request on: here at once, elsewhere within the bound'(t) {
    const [here, there] = await processes(t)
    const userId = newUser()
    const { token, session } = await here.start(userId, { roles: ['shopper'] })
    for (const sessions of [here, there]) assert.equal((await sessions.open(token)).can('orders:write'), false)
    assert.equal(await here.setRoles(userId, ['clerk']), 1)
    for (const sessions of [here, there]) {
      await comesTrue(t, async () => {
        const opened = await sessions.open(token)
        assert.equal(opened.refused, null)
        return opened.can('orders:write')
      })
    }
    const opened = await here.open(token)
    assert.equal(opened.epoch, session.epoch! + 1)
    assert.equal(await here.setRoles(newUser(), []), 0)
  },

  async 'who watches a session hears once of its end, from wherever it came'(t) {
    const [here, there] = await processes(t)
    const { session } = await here.start(newUser())
    const other = await here.start(newUser())
    let stopped = 0
    here.watch(other.session, () => stopped++)()
    let heard = 0
    const ended = new Promise<void>((resolve) => {
      here.watch(session, () => {
        heard++
        resolve()
      })
    })
    // Nothing else of this test need keep the process alive.
    const awake = setInterval(() => {}, 1000)
    await there.end(other.session.id!)
    await there.end(session.id!)
    await ended
    clearInterval(awake)
    assert.deepEqual([heard, stopped], [1, 0])
  },

  async 'who watches a session hears of a change of its roles, and of nothing that changes no identity'(t) {
    const [here, there] = await processes(t)
    const userId = newUser()
    const { session } = await here.start(userId, { roles: ['clerk'] })
    const heard: string[] = []
    const changed = new Promise<number>((resolve) => {
      here.watch(session, (why) => resolve(heard.push(why)))
    })
    const awake = setInterval(() => {}, 1000)
    await session.update('visits', () => 2)
    await there.setRoles(userId, ['clerk'])
    await there.setRoles(userId, ['shopper'])
    await changed
    clearInterval(awake)
    assert.deepEqual(heard, ['changed'])
  },
}

const signedRules: Record<string, SessionsRule['check']> = {
  async 'signed: the access token opens the session in every process, until it has ended'(t) {
    const [here, there] = await processes(t)
    const userId = newUser()
    const started = await here.start(userId, { credential: 'signed', roles: ['shopper'], data: { visits: 1 } })
    assert.ok(started.refreshToken !== null && started.expiresInMs! > 0)
    for (const sessions of [here, there]) {
      const session = await sessions.open(started.token)
      assert.deepEqual([session.refused, session.userId, session.roles], [null, userId, ['shopper']])
      assert.equal(await session.read('visits'), 1)
    }
    await here.end(started.session.id!)
    assert.notEqual((await here.open(started.token)).refused, null)
    await refusedInTime(t, there, started.token)
  },

  async 'signed: the one before gives the same successor again, in every process, and an older one ends the session'(
    t,
  ) {
    const [here, there] = await processes(t)
    const first = await here.start(newUser(), { credential: 'signed' })
    const second = (await here.refresh(first.refreshToken!)).tokens
    const again = (await there.refresh(first.refreshToken!)).tokens
    assert.ok(second !== null && again !== null)
    assert.equal(again.refreshToken, second.refreshToken)
    const third = await there.refresh(second.refreshToken!)
    assert.equal(third.session.id, first.session.id)
    assert.equal((await here.open(third.tokens!.token)).refused, null)
    const reused = await here.refresh(first.refreshToken!)
    assert.deepEqual([reused.session.refused, reused.tokens], ['refresh-reused', null])
    await refusedInTime(t, there, third.tokens!.token)
    assert.equal((await there.refresh(third.tokens!.refreshToken!)).tokens, null)
  },

  async 'signed: refresh tokens that race each other all give the same successor'(t) {
    const all = await processes(t)
    const { refreshToken } = await t.sessions.start(newUser(), { credential: 'signed' })
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => all[i % 2]!.refresh(refreshToken!)))
    assert.equal(new Set(answers.map(({ tokens }) => tokens?.refreshToken)).size, 1)
  },

  async 'signed: what is no refresh token gives nothing'({ sessions }) {
    const { token } = await sessions.start(newUser(), { credential: 'signed' })
    for (const presented of ['', 'x', token, 'y'.repeat(5_000)]) {
      const { session, tokens } = await sessions.refresh(presented)
      assert.deepEqual([session.refused, tokens], ['malformed', null])
    }
  },

  async 'signed: signing in gives a new pair, and the old pair is dead'(t) {
    const [here, there] = await processes(t)
    const userId = newUser()
    const { session, token, refreshToken } = await here.start(userId, { credential: 'signed' })
    const tokens = await session.signIn(userId, { acr: 'high' })
    assert.ok(tokens.refreshToken !== null)
    assert.equal((await there.open(tokens.token)).acr, 'high')
    await refusedInTime(t, there, token)
    assert.equal((await here.refresh(refreshToken!)).tokens, null)
  },
}

export const sessionsRules: readonly SessionsRule[] = [
  ...Object.entries(rules).map(([name, check]) => ({ name, check })),
  ...Object.entries(signedRules).map(([name, check]) => ({ name, check, needs: 'signed' as const })),
]
