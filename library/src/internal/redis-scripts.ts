// What Redis runs in one step: the conditional write of a record, and a write to the user index.

/** A script, and the name that Redis gives it. */
export interface Script {
  readonly text: string
  readonly sha1: Promise<string>
}

/**
 * KEYS: the record. ARGV: the expected version (0: none), now, the packed record (empty: end the session), when Redis may drop it,
 * until when the user index has to cover it (0: don't ask), how many bytes of the stored record to look at (the head and the user).
 * Answers 1 written, 0 conflict, 2 cover it first, and -n for a record of format n.
 */
export const putScript = script(`
local head = redis.call('GETRANGE', KEYS[1], 0, ARGV[6] - 1)
local version, covered = 0, 0
if head ~= '' then
  local format, flags, stored, expiresAt = struct.unpack('>BBI4I6', head)
  if format ~= 1 then return -format end
  if expiresAt > tonumber(ARGV[2]) then
    version = stored
    if string.sub(head, 13) == string.sub(ARGV[3], 13, ARGV[6]) then
      local span = 2 ^ (flags % 64)
      covered = math.ceil(expiresAt / span) * span
    end
  end
end
if version ~= tonumber(ARGV[1]) then return 0 end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
  return 1
end
if tonumber(ARGV[5]) > covered then return 2 end
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[4])
return 1`)

/**
 * KEYS: a bucket of the user index. ARGV: the entry; in seconds until when it covers its session, and how much longer entries and the bucket
 * stay. GT: of two racing writers the later end must stay. What is dead is for the server's clock to say: one machine that is a day
 * ahead must not clear away the entries of the others.
 */
export const coverScript = script(`
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1] - ARGV[3])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last then redis.call('EXPIREAT', KEYS[1], last + ARGV[3]) end
return 1`)

/**
 * KEYS: the record. Answers it, and writes it again as it is (absent: writes and removes it, which nobody sees): a write that replicas can
 * confirm, and with it all before it.
 */
export const provenGetScript = script(`
local record = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], record or '', 'KEEPTTL')
if not record then redis.call('DEL', KEYS[1]) end
return record`)

/** KEYS: the record. Removes and answers it; writes something also when it is absent. */
export const provenEndScript = script(`
local record = redis.call('GET', KEYS[1])
if not record then redis.call('SET', KEYS[1], '') end
redis.call('DEL', KEYS[1])
return record`)

/** KEYS: the bucket. ARGV: since when, in seconds. Answers the entries that are listed for longer; writes something, which nobody sees. */
export const provenListScript = script(`
local entries = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf')
redis.call('ZADD', KEYS[1], 0, '')
redis.call('ZREM', KEYS[1], '')
return entries`)

function script(text: string): Script {
  return { text, sha1: sha1(text) }
}

async function sha1(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-1', new TextEncoder().encode(text)))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
