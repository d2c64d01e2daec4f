// What an operator should know of a Redis that keeps sessions, and of the client that leads to it.

/** `ok: false` wants something done; `advice` says what. */
export interface RedisFinding {
  readonly what: string
  readonly ok: boolean
  readonly found: string
  readonly advice: string | null
}

/** A client of node-redis, by what is asked here. */
interface Client {
  /** Of a Cluster only. */
  readonly masters?: readonly { readonly address?: string }[]
  nodeClient?(master: object): Promise<object>
  getReplicaNodes?(): { readonly size: number }
  readonly _options?: { readonly useReplicas?: boolean }
  readonly _commandOptions?: { readonly timeout?: number | undefined } | undefined
}

/** What `createClient`, `createClientPool`, `createSentinel` and `createCluster` of node-redis give. */
interface Asked {
  withCommandOptions(o: { typeMapping?: object }): object
}

interface Server {
  info(section: string): Promise<unknown>
  time(): Promise<unknown>
}

/** More than this between two clocks shows in when sessions expire. */
const skewMs = 1_000
/** Of maxmemory; from there on it wants attention. */
const nearlyFull = 0.9

/**
 * What an operator should know of the server and the client: eviction that can drop sessions, reads from replicas, node-redis 5, a full
 * memory, a lack of persistence, clocks that differ. Ask once at the start and log what is not `ok`: no call of the store looks at it.
 *
 * Of each thing there is one finding, in a Cluster that of the master where it is worst. Rejects when one of them can't be asked. Its user
 * may run INFO and TIME.
 */
export async function redisFindings(client: Asked): Promise<readonly RedisFinding[]> {
  const { masters, nodeClient } = client as Client
  if (masters === undefined || nodeClient === undefined) return [clientFinding(client), ...(await inspect(client))]
  const each = await Promise.all(
    masters.map(async (master) => {
      const findings = await inspect((await nodeClient.call(client, master)) as Asked)
      return findings.map((finding) => ({ ...finding, found: `${finding.found} (${master.address})` }))
    }),
  )
  return [clientFinding(client), ...each[0]!.map((first, i) => each.find((all) => !all[i]!.ok)?.[i] ?? first)]
}

async function inspect(server: Asked): Promise<readonly RedisFinding[]> {
  const asked = server.withCommandOptions({ typeMapping: {} }) as Server
  const info = async (section: string) => fields(String(await asked.info(section)))
  const [about, replication, memory, persistence] = await Promise.all([
    info('server'),
    info('replication'),
    info('memory'),
    info('persistence'),
  ])
  return [
    version(about),
    role(replication),
    eviction(memory),
    room(memory),
    durability(persistence),
    await clock(asked),
  ]
}

type Fields = ReadonlyMap<string, string>

function fields(text: string): Fields {
  return new Map(
    text.split('\r\n').flatMap((line) => (line.includes(':') ? [line.split(/:(.*)/s, 2) as [string, string]] : [])),
  )
}

function clientFinding(client: object): RedisFinding {
  const { _options, _commandOptions, getReplicaNodes } = client as Client
  const what = 'Redis client'
  // What node-redis 6 gave its clients and 5 did not.
  if (!('identity' in client) && !('_setIdentity' in client)) {
    const advice = 'after the master of a Cluster was killed it never finds its successor: npm install redis@6'
    return { what, ok: false, found: 'not node-redis 6', advice }
  }
  if (_options?.useReplicas === true || (getReplicaNodes?.call(client).size ?? 0) > 0) {
    const advice =
      'a replica may not have heard of an ending yet: leave out useReplicas and replicaPoolSize, or make another client for it'
    return { what, ok: false, found: 'reads from replicas', advice }
  }
  const hasTimer = _commandOptions?.timeout !== undefined
  const advice =
    'the store does without, but your own commands cost less so too: commandOptions: { timeout: undefined }'
  return hasTimer
    ? { what, ok: true, found: 'node-redis 6, with a timer per command', advice }
    : { what, ok: true, found: 'node-redis 6', advice: null }
}

function version(server: Fields): RedisFinding {
  const found = server.get('valkey_version') ?? server.get('redis_version') ?? 'unknown'
  const [major = 0, minor = 0] = found.split('.').map(Number)
  const ok = major > 6 || (major === 6 && minor >= 2)
  return {
    what: 'Redis version',
    ok,
    found,
    advice: ok ? null : 'Holdfast is tested with Redis 7: upgrade to 6.2 or newer',
  }
}

function role(replication: Fields): RedisFinding {
  const ok = replication.get('role') !== 'slave'
  return {
    what: 'Redis role',
    ok,
    found: ok ? (replication.get('role') ?? 'unknown') : 'replica',
    advice: ok ? null : 'a replica takes no writes: connect to its master, or by Sentinel',
  }
}

/** Evicting sessions signs users out, and hides others from `endUser`. */
function eviction(memory: Fields): RedisFinding {
  const policy = memory.get('maxmemory_policy') ?? 'unknown'
  const limit = Number(memory.get('maxmemory') ?? 0)
  const ok = policy === 'noeviction'
  const advice =
    limit > 0
      ? 'it drops sessions when the memory is full: CONFIG SET maxmemory-policy noeviction'
      : 'it would drop sessions as soon as maxmemory is set: CONFIG SET maxmemory-policy noeviction'
  return {
    what: 'Redis eviction',
    ok,
    found: `${policy}, maxmemory ${limit === 0 ? 'not set' : limit}`,
    advice: ok ? null : advice,
  }
}

/** A full Redis that may not evict refuses every write. */
function room(memory: Fields): RedisFinding {
  const [used, limit] = [Number(memory.get('used_memory') ?? 0), Number(memory.get('maxmemory') ?? 0)]
  const ok = limit === 0 || used < limit * nearlyFull
  return {
    what: 'Redis memory',
    ok,
    found: limit === 0 ? `${used} bytes` : `${used} of ${limit} bytes`,
    advice: ok ? null : 'when it is full, no session can be started: raise maxmemory',
  }
}

function durability(persistence: Fields): RedisFinding {
  const isKept = persistence.get('aof_enabled') === '1'
  return {
    what: 'Redis persistence',
    ok: true,
    found: isKept ? 'append-only file' : 'no append-only file',
    advice: isKept
      ? null
      : 'sessions since the last snapshot are lost when Redis restarts; CONFIG SET appendonly yes keeps them',
  }
}

/** Redis drops expired keys by its own clock. */
async function clock(server: Server): Promise<RedisFinding> {
  const before = Date.now()
  const [seconds, microseconds] = (await server.time()) as [string, string]
  const after = Date.now()
  const theirs = Number(seconds) * 1000 + Number(microseconds) / 1000
  // It was read at some moment between; what lies outside of that is a difference.
  const apart = Math.round(Math.max(before - theirs, theirs - after, 0))
  const ok = apart <= skewMs
  return {
    what: 'clock of Redis',
    ok,
    found: `${apart} ms from this machine's`,
    advice: ok ? null : 'sessions would expire early or late: run NTP (chrony, systemd-timesyncd) on both machines',
  }
}
