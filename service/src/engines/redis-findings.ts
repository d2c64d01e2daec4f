// What an operator should know of a Redis that keeps sessions.
import type { Finding } from './engine.ts'

/** Sends one command. */
export type Ask = (command: readonly string[]) => Promise<unknown>

/** More than this between two clocks shows in when sessions expire. */
const skewMs = 1_000

/** Of maxmemory; from there on it wants attention. */
const nearlyFull = 0.9

export async function inspectRedis(ask: Ask): Promise<readonly Finding[]> {
  const [server, memory, persistence, replication] = await Promise.all(
    ['server', 'memory', 'persistence', 'replication'].map((section) => info(ask, section)),
  )
  return [
    version(server!),
    role(replication!),
    eviction(memory!),
    room(memory!),
    durability(persistence!),
    await clock(ask),
  ]
}

async function info(ask: Ask, section: string): Promise<Map<string, string>> {
  const text = String(await ask(['INFO', section]))
  return new Map(
    text.split('\r\n').flatMap((line) => (line.includes(':') ? [line.split(/:(.*)/s, 2) as [string, string]] : [])),
  )
}

function version(server: Map<string, string>): Finding {
  const found = server.get('redis_version') ?? 'unknown'
  const ok = Number.parseInt(found, 10) >= 6
  return {
    what: 'Redis version',
    ok,
    found,
    advice: ok ? null : 'Holdfast is tested with Redis 7: upgrade to 6.2 or newer',
  }
}

function role(replication: Map<string, string>): Finding {
  const found = replication.get('role') ?? 'unknown'
  const ok = found !== 'slave'
  return {
    what: 'Redis role',
    ok,
    found: ok ? found : 'replica',
    advice: ok ? null : 'a replica takes no writes: put its master into HOLDFAST_STORE, or use redis+sentinel://',
  }
}

/** A full Redis that may not evict refuses every write. */
function room(memory: Map<string, string>): Finding {
  const [used, limit] = [Number(memory.get('used_memory') ?? 0), Number(memory.get('maxmemory') ?? 0)]
  const ok = limit === 0 || used < limit * nearlyFull
  return {
    what: 'Redis memory',
    ok,
    found: limit === 0 ? `${used} bytes` : `${used} of ${limit} bytes`,
    advice: ok ? null : 'when it is full, no session can be started: raise maxmemory',
  }
}

/** Evicting sessions signs users out; evicting clients locks services out. */
function eviction(memory: Map<string, string>): Finding {
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

function durability(persistence: Map<string, string>): Finding {
  const ok = persistence.get('aof_enabled') === '1'
  return {
    what: 'Redis persistence',
    ok: true,
    found: ok ? 'append-only file' : 'no append-only file',
    advice: ok
      ? null
      : 'sessions and clients since the last snapshot are lost when Redis restarts; CONFIG SET appendonly yes keeps them',
  }
}

/** Redis drops expired keys by its own clock. */
async function clock(ask: Ask): Promise<Finding> {
  const before = Date.now()
  const [seconds, microseconds] = (await ask(['TIME'])) as [string, string]
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
