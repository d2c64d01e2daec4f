// Connections to that one of several PostgreSQL servers which takes writes.
import { Client, Pool, type ClientBase, type ClientConfig } from 'pg'
import type { ConnectionChanged } from './engine.ts'
import { postgresConnectTimeoutMs } from './timeouts.ts'

/** On the server; by then whoever asked has long left. */
const statementTimeoutMs = 5_000

/**
 * A pool of at most `max` connections to the primary among the servers of `url` (`postgres://<user>@<host>:<port>,<host>:<port>/<database>`). A
 * connection that fails, or that finds a standby, makes the next one go to the next server.
 */
export function primaryPool(url: string, max: number, changed: ConnectionChanged = () => {}): Pool {
  const urls = oneEach(url)
  let at = 0
  const isElsewhere = (tried: string | undefined) => {
    if (tried === urls[at]) at = (at + 1) % urls.length
  }

  class NextClient extends Client {
    readonly tried = urls[at]
    constructor(config?: ClientConfig) {
      super({ ...config, connectionString: urls[at] })
    }
    override connect(): Promise<this>
    override connect(done: (error: Error) => void): void
    override connect(done: (error: Error) => void = () => {}): unknown {
      return super.connect((error: Error | null) => {
        if (error !== null) isElsewhere(this.tried)
        done(error as Error)
      })
    }
  }

  async function refuseStandby(client: ClientBase): Promise<void> {
    const { rows } = await client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby')
    if (rows[0]?.standby === true) {
      isElsewhere((client as NextClient).tried)
      throw new StandbyError('the server is a standby')
    }
    await client.query(`SET statement_timeout = ${statementTimeoutMs}`)
  }

  const pool = new Pool({
    Client: NextClient as never,
    onConnect: refuseStandby as (client: ClientBase) => void,
    connectionTimeoutMillis: postgresConnectTimeoutMs,
    keepAlive: true,
    max,
  })
  let up = true
  const onlyChanges: ConnectionChanged = (cause) => {
    if (up !== (cause === null)) changed(cause)
    up = cause === null
  }
  // A pooled connection that breaks is replaced when the next one is wanted.
  return pool.on('error', onlyChanges).on('connect', () => onlyChanges(null))
}

export class StandbyError extends Error {}

/** A URL for each of its servers. */
export function oneEach(url: string): readonly string[] {
  const [, before, hosts, behind] = /^([a-z]+:\/\/(?:[^/?#]*@)?)([^/?#]+)(.*)$/.exec(url)!
  return hosts!.split(',').map((host) => `${before}${host}${behind}`)
}
