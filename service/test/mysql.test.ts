// The service on MySQL (here MariaDB): its tables, replicas, outages, and what it says when something is wrong.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, it } from 'node:test'
import { createPool, type Pool } from 'mysql2/promise'
import { startMariadb, type Mariadb } from '../../scripts/servers/mariadb.ts'
import { openEngine, openFeed } from '../src/engines/engine.ts'
import { parseFeedUrl } from '../src/engines/feed-url.ts'
import { mysqlMigration } from '../src/engines/mysql.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { StartError } from '../src/start-error.ts'
import { assertOutagePasses, assertShared } from './engine-promises.ts'
import { serviceOn } from './service.ts'

let server: Mariadb
let root: Pool
before(async () => {
  server = await startMariadb()
  root = createPool({ uri: server.url })
})
after(async () => {
  await root.end()
  await server.stop()
})

/** The URL of a database of its own, and of a user that has these rights there. */
async function database(name: string, rights: string): Promise<string> {
  await root.query(`CREATE DATABASE ${name}`)
  await root.query(`CREATE USER ${name}@'%' IDENTIFIED BY 'secret-of-${name}'`)
  await root.query(`GRANT ${rights} ON ${name}.* TO ${name}@'%'`)
  return `mysql://${name}:secret-of-${name}@127.0.0.1:${server.port}/${name}`
}

const urlOf = (text: string) => parseStoreUrl(text) as Parameters<typeof mysqlMigration>[0]

it('two replicas share sessions, clients and endings', async () => {
  await assertShared(await database('shop', 'CREATE, SELECT, INSERT, UPDATE, DELETE'))
})

it('an outage is answered in time, and is over without a restart', async () => {
  const own = await startMariadb()
  await assertOutagePasses(own, () => startMariadb({ port: own.port, folder: own.folder }))
})

it('what can not work is said at the start, and what to do', async () => {
  const poor = await database('poor', 'SELECT, INSERT, UPDATE, DELETE')
  const wrong: readonly (readonly [url: string, expected: RegExp])[] = [
    ['mysql://127.0.0.1:1/x', /can't be reached \(ECONNREFUSED\): see that it runs/],
    [poor.replace('secret-of', 'guess-of'), /does not accept the user name or password/],
    [poor.replace(/poor$/, 'elsewhere'), /no such database, or not for this user/],
    [server.url.replace(/holdfast$/, 'nowhere'), /no such database/],
    [poor, /may not make tables .*: GRANT CREATE, SELECT, INSERT, UPDATE, DELETE .* `holdfast migrate`/],
    [`${poor}?ssl=true`, /does not speak TLS, which \?ssl asks for/],
    [poor.replace(/\/\/.*@/, '//'), /user name or password of the URL \(none was given\): correct/],
    ['mysql://u:secret-of-many@one:1,two:2/x', /expected mysql:.* with one host/],
  ]
  for (const [url, expected] of wrong) {
    const feed = () => openFeed(parseFeedUrl(url), { feed: null } as never)
    for (const open of [() => openEngine(urlOf(url)), feed]) {
      await assert.rejects(open, (error) => {
        assert.ok(error instanceof StartError)
        assert.match(error.message, expected)
        assert.doesNotMatch(error.message, /secret-of|guess-of/)
        return true
      })
    }
  }
  await assert.rejects(mysqlMigration(urlOf(poor)).apply(), /GRANT CREATE/)
})

it('a user who may not make tables starts where somebody else made them', async () => {
  const url = await database('lean', 'SELECT, INSERT, UPDATE, DELETE')
  const migration = mysqlMigration(urlOf(server.url.replace(/holdfast$/, 'lean')))
  const names = ['holdfast_sessions', 'holdfast_clients', 'holdfast_feed', 'holdfast_feed_head']
  assert.deepEqual(await migration.apply(), names)
  assert.deepEqual(await migration.apply(), [])
  const service = await serviceOn(url)
  await service.start()
  await service.stop()
  // A DBA runs the same by hand.
  const byHand = await database('byhand', 'SELECT')
  const connection = await root.getConnection()
  await connection.query('USE byhand')
  for (const statement of migration.sql.split(';\n')) {
    if (statement.trim() !== '') await connection.query(statement)
  }
  connection.destroy()
  await (await openEngine(urlOf(byHand))).close()
})

it('TLS is by the name and the CA of a certificate', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-tls-'))
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
  const name = '/CN=localhost -addext subjectAltName=DNS:localhost -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256'
  const files = ['-keyout', key, '-out', certificate]
  execFileSync(
    process.env['OPENSSL_PATH'] ?? 'openssl',
    ['req', '-x509', '-nodes', ...files, '-subj', ...name.split(' ')],
    { stdio: 'ignore' },
  )
  // The server is another user than whoever runs this.
  for (const path of [folder, key]) chmodSync(path, 0o755)
  const own = await startMariadb({ settings: { 'ssl-key': key, 'ssl-cert': certificate } })
  try {
    const local = own.url.replace('127.0.0.1', 'localhost')
    await assert.rejects(
      openEngine(urlOf(`${local}?ssl=true`)),
      /no TLS with MySQL at .*self-signed.*NODE_EXTRA_CA_CERTS/,
    )
    const code = `const [{ openEngine }, { parseStoreUrl }] = await Promise.all(['engine', 'store-url'].map((name) =>
        import('${join(import.meta.dirname, '../src/engines')}/' + name + '.ts')))
      await openEngine(parseStoreUrl(process.argv[1])).then((engine) => engine.close(), ({ message }) => console.log(message))`
    const outcome = (url: string) =>
      execFileSync(process.execPath, ['--conditions=source', '--input-type=module', '-e', code, url], {
        encoding: 'utf8',
        env: { ...process.env, NODE_EXTRA_CA_CERTS: certificate },
      })
    assert.equal(outcome(`${local}?ssl=true`), '')
    // Another name of the same address, which is none of the certificate's.
    assert.match(
      outcome(`${own.url.replace('127.0.0.1', '127.1')}?ssl=true`),
      /no TLS with MySQL at .*host as the certificate has it/,
    )
  } finally {
    await own.stop()
    rmSync(folder, { recursive: true })
  }
})

it('a read-only server is refused, whoever asks', async () => {
  const url = await database('away', 'CREATE, SELECT, INSERT, UPDATE, DELETE')
  const engine = await openEngine(urlOf(url))
  await root.query('SET GLOBAL read_only = 1')
  try {
    await assert.rejects(engine.sessions.get('a'), /read-only.*primary/)
    for (const text of [url, server.url]) {
      await assert.rejects(
        openEngine(urlOf(text)),
        /HOLDFAST_STORE: MySQL at .* is read-only: put its primary into the URL/,
      )
    }
  } finally {
    await root.query('SET GLOBAL read_only = 0')
    await engine.close()
  }
})

it('the doctor finds what can lose endings', async () => {
  const url = await database('checked', 'CREATE, SELECT, INSERT, UPDATE, DELETE')
  const wrong = async (url: string) => {
    const engine = await openEngine(urlOf(url))
    const findings = await engine.inspect()
    await engine.close()
    for (const { ok, advice } of findings) assert.ok(ok || advice !== null)
    return findings.filter(({ ok }) => !ok).map(({ what }) => what)
  }
  assert.deepEqual(await wrong(url), ['MySQL durability'])
  await root.query('SET GLOBAL innodb_flush_log_at_trx_commit = 1')
  assert.deepEqual(await wrong(url), [])
  assert.deepEqual(await wrong(server.url), ['rights of the MySQL user'])
})

it('the doctor says when semi-synchronous replication may give up, and when it has', async (t) => {
  const own = await startMariadb({ settings: { 'skip-log-bin': '0', 'log-bin': 'binlog' } })
  const pool = createPool({ uri: own.url })
  const engine = await openEngine(urlOf(own.url))
  t.after(async () => {
    await engine.close()
    await pool.end()
    await own.stop()
  })
  const set = (name: string, to: string) => pool.query(`SET GLOBAL rpl_semi_sync_master_${name} = ${to}`)
  const replication = async () => (await engine.inspect()).find(({ what }) => what === 'MySQL replication')!
  assert.match((await replication()).advice!, /use semi-synchronous replication with AFTER_SYNC/)
  await set('wait_point', 'AFTER_SYNC')
  await set('enabled', 'ON')
  assert.match((await replication()).advice!, /primary: set rpl_semi_sync_master_timeout = 4294967295[^;]*$/)
  await set('timeout', '4294967295')
  assert.deepEqual(await replication(), {
    what: 'MySQL replication',
    ok: true,
    found: 'semi-synchronous, AFTER_SYNC, timeout 4294967295 ms',
    advice: null,
  })
  await set('timeout', '1')
  await pool.query('CREATE TABLE lonely (n INT)')
  await set('timeout', '4294967295')
  const { ok, found, advice } = await replication()
  assert.deepEqual([ok, found], [false, 'semi-synchronous, but given up, AFTER_SYNC, timeout 4294967295 ms'])
  assert.match(advice!, /primary: bring back the replicas/)
})
