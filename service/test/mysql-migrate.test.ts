// `holdfast migrate` where MySQL (here MariaDB) carries the feed alone.
import assert from 'node:assert/strict'
import { after, before, it } from 'node:test'
import { createPool, type Pool } from 'mysql2/promise'
import { startMariadb, type Mariadb } from '../../scripts/servers/mariadb.ts'
import { holdfast } from './service.ts'

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

it('makes and prints the tables of the feed, and names the setting that is wrong', async () => {
  await root.query('CREATE DATABASE fed')
  await root.query("CREATE USER fed@'%' IDENTIFIED BY 'secret-of-fed'")
  await root.query("GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON fed.* TO fed@'%'")
  const url = `mysql://fed:secret-of-fed@127.0.0.1:${server.port}/fed`
  const tables = async () => {
    const [rows] = await root.query(
      `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'fed'`,
    )
    return (rows as { name: string }[]).map(({ name }) => name).toSorted()
  }
  const env = { HOLDFAST_STORE: 'redis://127.0.0.1:1' }
  const printed = holdfast(['migrate', '--feed', url, '--print'], env)
  assert.equal(printed.code, 0, printed.err)
  const names = ['holdfast_feed', 'holdfast_feed_head']
  assert.deepEqual(
    [...printed.out.matchAll(/CREATE TABLE IF NOT EXISTS `(\w+)`/g)].map(([, name]) => name),
    names,
  )
  assert.deepEqual(await tables(), [])
  const { code, out, err } = holdfast(['migrate', '--feed', url], env)
  assert.equal(code, 0, err)
  assert.match(out, / has all its tables; made holdfast_feed, holdfast_feed_head\n$/)
  assert.deepEqual(await tables(), names)
  const failed = holdfast(['migrate', '--feed', url.replace('secret-of', 'guess-of')], env)
  assert.equal(failed.code, 1)
  assert.match(failed.err, /HOLDFAST_FEED: MySQL at .* does not accept the user name or password/)
  assert.doesNotMatch(failed.err, /HOLDFAST_STORE/)
})
