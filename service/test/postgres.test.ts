// The service on PostgreSQL: its tables and who may make them, several servers, and what the doctor says.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Client } from 'pg'
import { startPostgres, startPostgresPair } from '../../scripts/servers/postgres.ts'
import type { Server } from '../../scripts/servers/server.ts'
import { openEngine, openFeed } from '../src/engines/engine.ts'
import { oneEach } from '../src/engines/postgres-pool.ts'
import { parseFeedUrl } from '../src/engines/feed-url.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { StartError } from '../src/start-error.ts'
import { adminSecret, holdfast, serviceOn, until } from './service.ts'

const tables = ['holdfast_sessions', 'holdfast_clients', 'holdfast_feed', 'holdfast_feed_head']

describe('the tables in PostgreSQL', () => {
  let server: Server
  let databases = 0
  const clients: Client[] = []
  before(async () => {
    server = await startPostgres()
    const client = await connected(server.url)
    await client.query(`CREATE ROLE shop LOGIN`)
  })
  after(async () => {
    for (const client of clients) await client.end()
    await server.stop()
  })

  async function connected(url: string): Promise<Client> {
    const client = new Client(url)
    await client.connect()
    clients.push(client)
    return client
  }

  /** An empty one, by the URLs of its owner and of a user who may only connect. */
  async function database() {
    const name = `db${databases++}`
    await clients[0]!.query(`CREATE DATABASE ${name}`)
    const url = new URL(server.url)
    url.pathname = name
    const owner = url.href
    url.username = 'shop'
    return { owner, shop: url.href, ask: await connected(owner) }
  }

  const tablesIn = async (client: Client) =>
    (await client.query(`SELECT relname FROM pg_stat_user_tables ORDER BY 1`)).rows.map(
      (row) => row['relname'] as string,
    )

  const problemOf = async (url: string) => {
    const error: unknown = await openEngine(parseStoreUrl(url)).then(
      (engine) => engine.close(),
      (failed: unknown) => failed,
    )
    assert.ok(error instanceof StartError)
    return error.message
  }

  it('are made when they are missing, by many at once', async () => {
    const { owner, ask } = await database()
    const engines = await Promise.all(Array.from({ length: 3 }, () => openEngine(parseStoreUrl(owner))))
    assert.deepEqual(await tablesIn(ask), tables.toSorted())
    for (const engine of engines) await engine.close()
  })

  it('are made by another where the user may not, who is told what to do', async () => {
    const { owner, shop, ask } = await database()
    const forbidden = await problemOf(shop)
    assert.match(
      forbidden,
      /^HOLDFAST_STORE: .*does not let this user make the tables.*holdfast migrate .* then GRANT SELECT/,
    )
    const made = holdfast(['migrate', '--store', owner], { HOLDFAST_STORE: shop })
    assert.deepEqual(
      [made.code, made.out, made.err],
      [0, `${owner.replace('postgres@', '')} has all its tables; made ${tables.join(', ')}\n`, ''],
    )
    const unusable = await problemOf(shop)
    const grant = /GRANT .* to /.exec(unusable)?.[0]
    assert.ok(grant, unusable)
    await ask.query(`${grant} shop`)
    const service = await serviceOn(shop)
    const { token } = await service.start()
    assert.equal((await service.call('POST', '/v1/sessions/verify', { body: { token } })).body.active, true)
    await service.stop()
  })

  it('can be made again, and by what migrate prints', async () => {
    const { owner, ask } = await database()
    const env = { HOLDFAST_STORE: owner, HOLDFAST_ADMIN_SECRET: adminSecret }
    const printed = holdfast(['migrate', '--print'], env)
    assert.equal(printed.code, 0, printed.err)
    assert.deepEqual(await tablesIn(ask), [])
    // What one statement of it locks is locked for the others, also where each is sent by itself.
    assert.match(printed.out, /^-- .*\nBEGIN;\n[^]*\nCOMMIT;\n$/)
    await ask.query(printed.out)
    await ask.query(printed.out)
    assert.deepEqual(await tablesIn(ask), tables.toSorted())
    assert.match(holdfast(['migrate'], env).out, / has all its tables\n$/)
  })

  it('are those of the feed alone where the store is another', async () => {
    const { owner, ask } = await database()
    const env = { HOLDFAST_STORE: 'sqlite:unused.db' }
    const { code, out } = holdfast(['migrate', '--feed', owner], env)
    assert.deepEqual([code, out.split('\n').length], [0, 3])
    assert.match(out, /sqlite:unused.db needs no migration/)
    assert.deepEqual(await tablesIn(ask), ['holdfast_feed', 'holdfast_feed_head'])
    assert.match(holdfast(['migrate', '--print'], env).out, /^-- sqlite:unused.db: needs no SQL\n$/)
  })

  it('are looked at by the doctor', async () => {
    const { owner } = await database()
    const engine = await openEngine(parseStoreUrl(owner))
    const findings = await engine.inspect()
    await engine.close()
    const byName = Object.fromEntries(findings.map(({ what, ok, found }) => [what, `${ok} ${found}`]))
    assert.match(byName['PostgreSQL version']!, /^true 1/)
    assert.match(byName['PostgreSQL encoding']!, /^true UTF8/)
    // The servers of tests sync nothing.
    assert.match(byName['PostgreSQL durability']!, /^false synchronous_commit on, fsync off/)
    assert.match(byName['PostgreSQL failover']!, /no standby/)
    for (const table of tables) assert.match(byName[`table ${table}`]!, /^true \d rows, 0 dead, \d+ kB, autovacuum on/)
  })

  it('are not asked for where nobody answers, or nobody is let in', async () => {
    const { owner } = await database()
    assert.match(await problemOf(`${owner}x`), /no such database/)
    assert.match(
      await problemOf(owner.replace('postgres@', '')),
      /user name or password of the URL \(none was given\): c/,
    )
    assert.match(await problemOf(`${owner}?sslmode=verify-full`), /does not speak TLS, which \?sslmode asks for/)
    assert.match(
      await problemOf(`${owner}?sslrootcert=/no/such.pem`),
      /a file that the URL's parameters name.*such\.pem/,
    )
    assert.match(
      await problemOf('postgres://u:a-password@127.0.0.1:1/d'),
      /^(?!.*a-password).*at postgres:\/\/127.0.0.1:1\/d .*ECONNREFUSED/,
    )
    await assert.rejects(openEngine(parseStoreUrl('postgres://nobody@127.0.0.1:1/d')), StartError)
  })
})

describe('several servers of PostgreSQL', () => {
  it('have the same user, database and parameters', () => {
    assert.deepEqual(oneEach('postgres://u:p%40@a:1,[::1]:2/db?x=y,z@'), [
      'postgres://u:p%40@a:1/db?x=y,z@',
      'postgres://u:p%40@[::1]:2/db?x=y,z@',
    ])
  })

  it('are one service: the primary is found, and after a failover the new one', async () => {
    const pair = await startPostgresPair()
    const { primary, standby, promote, stop } = pair
    const both = `postgres://postgres@127.0.0.1:${standby.port},127.0.0.1:${primary.port}/postgres`
    await assert.rejects(openEngine(parseStoreUrl(standby.url)), /is only a standby/)
    await assert.rejects(async () => openFeed(parseFeedUrl(standby.url), null as never), /is only a standby/)
    const service = await serviceOn(both)
    try {
      const verified = async (token: string) =>
        (await service.call('POST', '/v1/sessions/verify', { body: { token } })).body
      const kept = await service.start()
      const ended = await service.start()
      assert.equal((await service.call('DELETE', `/v1/sessions/${ended.id}`)).status, 204)
      await primary.kill()
      await promote()
      await until(async () => (await verified(kept.token)).active === true, 'the new primary')
      await until(async () => {
        const { active } = await verified(ended.token)
        assert.notEqual(active, true, 'revived')
        return active === false
      }, 'an answer about what was ended')
      await until(
        async () => (await service.call('POST', '/v1/sessions', { body: { userId: 'bob' } })).status === 201,
        'a start',
      )
    } finally {
      await service.stop()
      await stop()
    }
  })
})
