/**
 * One script a transition, each on one key. A record is a hash: `s` 0 freed, 1 under way, 2 answered; `t` token, `f` fence, `p`
 * fingerprint, `u` principal, `l` run, `e` end of the lease in milliseconds of the server's clock, `w` window, `n` somebody in
 * another process waits, `c` `h` `b` status, fields and body of the answer. Windows are the key's own expiry.
 *
 * A script writes its first field before it removes any: where memory is short the first write is what fails.
 */
const clock = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

/** What is known of a key, as one text of lines, and its body. The lease of one that is not under way needs no clock. */
const describe = `local function described(r, lease)
  local window = r[8]
  if r[1] ~= '1' then window = redis.call('PTTL', KEYS[1]) end
  return {0, table.concat({r[1] or '', r[2] or '', r[3] or '', r[4] or '', r[5] or '', r[6] or '', string.format('%.0f', lease), tostring(window), r[9] or '', r[10] or ''}, '\\n'), r[11]}
end
local h = redis.call('HMGET', KEYS[1], 's', 't', 'f', 'p', 'u', 'l', 'e', 'w', 'c', 'h', 'b')
`

const settled = `if redis.call('HGET', KEYS[1], 'n') == '1' then redis.call('PUBLISH', ARGV[#ARGV], KEYS[1]) end
`

/** token, fingerprint, principal, link, lease, window, replaces → {1, fence} or {0, record, body}. */
const claim = `${describe}if h[1] and h[1] ~= '0' and h[1] ~= '1' then return described(h, 0) end
${clock}if h[1] == '1' then
  if h[2] == ARGV[1] then return {1, h[3]} end
  local lease = math.max(0, tonumber(h[7]) - now)
  if h[2] ~= ARGV[7] or lease > 0 then return described(h, lease) end
end
local fence = time[1] * 1000000 + time[2]
if h[3] and tonumber(h[3]) >= fence then fence = tonumber(h[3]) + 1 end
fence = string.format('%.0f', fence)
redis.call('HSET', KEYS[1], 's', '1', 't', ARGV[1], 'f', fence, 'p', ARGV[2], 'u', ARGV[3], 'l', ARGV[4], 'e', string.format('%.0f', now + ARGV[5]), 'w', ARGV[6])
if h[1] then redis.call('HDEL', KEYS[1], 'n', 'c', 'h', 'b') end
if ARGV[4] == '' then redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[5] + ARGV[6])) else redis.call('PERSIST', KEYS[1]) end
return {1, fence}`

/** awaited → false or {0, record, body}. */
const get = `${describe}if not h[1] or h[1] == '0' then return false end
if h[1] ~= '1' then return described(h, 0) end
${clock}if ARGV[1] == '1' then redis.call('HSET', KEYS[1], 'n', '1') end
return described(h, math.max(0, tonumber(h[7]) - now))`

const mine = `local h = redis.call('HMGET', KEYS[1], 's', 't', 'w', 'l', 'f')
if h[1] ~= '1' or h[2] ~= ARGV[1] then return 0 end
`

/** token, status, fields, retained, body, window or '', channel → 1 or 0. */
const complete = `local h = redis.call('HMGET', KEYS[1], 's', 't', 'w')
if h[2] ~= ARGV[1] then return 0 end
if h[1] == '2' then return 1 end
if h[1] ~= '1' then return 0 end
redis.call('HSET', KEYS[1], 'c', ARGV[2], 'h', ARGV[3], 's', '2')
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], 'b', ARGV[5]) end
local window = ARGV[6]
if window == '' then window = h[3] end
redis.call('PEXPIRE', KEYS[1], math.ceil(window))
${settled}return 1`

/** token, lease → 1 or 0. */
const extend = `${clock}${mine}redis.call('HSET', KEYS[1], 'e', string.format('%.0f', now + ARGV[2]))
if h[4] == '' then redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] + h[3])) end
return 1`

/** token, run → 1 or 0. */
const attach = `${mine}redis.call('HSET', KEYS[1], 'l', ARGV[2])
redis.call('PERSIST', KEYS[1])
return 1`

/** token, channel → 1 or 0. The fence stays for a while, so that the next claim's is higher whatever the clock does. */
const release = `${mine}${settled}redis.call('HSET', KEYS[1], 's', '0')
redis.call('HDEL', KEYS[1], 't', 'p', 'u', 'l', 'e', 'w', 'n')
redis.call('PEXPIRE', KEYS[1], 600000)
return 1`

/** principal → 1 or 0. */
const erase = `${clock}local h = redis.call('HMGET', KEYS[1], 's', 'u', 'l', 'e')
if h[2] ~= ARGV[1] then return 0 end
if h[1] == '1' and (h[3] ~= '' or tonumber(h[4]) > now) then return 0 end
return redis.call('DEL', KEYS[1])`

/** The name of a script. */
export type ScriptName = 'claim' | 'get' | 'complete' | 'extend' | 'attach' | 'release' | 'erase'

/** The texts, by name. */
export const scripts: Readonly<Record<ScriptName, string>> = { claim, get, complete, extend, attach, release, erase }
