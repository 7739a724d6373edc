import type { BreakerStore, ClusterRequest, ClusterState } from '../store.ts'

/** The command that the store sends; a node-redis client or cluster client has it. */
export interface RedisBreakerClient {
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
}

/** The two commands that news come by; a node-redis client of its own, as a subscribed one sends nothing else. */
export interface RedisBreakerSubscriber {
  subscribe(channel: string, listener: (message: string) => unknown): Promise<unknown>
  unsubscribe(channel: string, listener: (message: string) => unknown): Promise<unknown>
}

/** Where in Redis breakers are kept. */
export interface RedisBreakerStoreOptions {
  readonly client: RedisBreakerClient
  /** Without one, nodes learn of changes by their poll only. */
  readonly subscriber?: RedisBreakerSubscriber
  /** Begins every key and the channel. */
  readonly prefix?: string
}

// One hash a breaker: `gen`, `state`, `until` (Redis's clock), `ok` (good trials), `seq`, `wait` (when somebody found all
// places held), `calls`, `failures`, `v:<node>` (when it voted) and `p:<token>` (when its place lapses).
const script = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local r = cjson.decode(ARGV[1])
local flat = redis.call('HGETALL', KEYS[1])
local h = {}
for i = 1, #flat, 2 do h[flat[i]] = flat[i + 1] end
local gen = tonumber(h.gen or '0')
local state = h.state or 'closed'
local openUntil = tonumber(h['until'] or '0')
local good = tonumber(h.ok or '0')
local moved = false
local dirty = false

local function set(field, value)
  h[field] = tostring(value)
  redis.call('HSET', KEYS[1], field, tostring(value))
  dirty = true
end
local function drop(field)
  if h[field] then
    h[field] = nil
    redis.call('HDEL', KEYS[1], field)
    dirty = true
  end
end
local function fields(prefix)
  local found = {}
  for field in pairs(h) do
    if string.sub(field, 1, 2) == prefix then found[#found + 1] = field end
  end
  return found
end
local function move(to)
  gen = gen + 1
  state = to
  good = 0
  moved = true
  for _, field in ipairs(fields('p:')) do drop(field) end
  for _, field in ipairs(fields('v:')) do drop(field) end
  drop('wait')
  if to == 'closed' then
    drop('calls')
    drop('failures')
  end
end

for _, field in ipairs(fields('p:')) do
  if tonumber(h[field]) <= now then drop(field) end
end
for _, field in ipairs(fields('v:')) do
  if now - tonumber(h[field]) >= r.voteMs then drop(field) end
end

if r.calls > 0 then set('calls', tonumber(h.calls or '0') + r.calls) end
if r.failures > 0 then set('failures', tonumber(h.failures or '0') + r.failures) end

for _, token in ipairs(r.held) do
  if h['p:' .. token] then set('p:' .. token, now + r.leaseMs) end
end

for _, probe in ipairs(r.settled) do
  local field = 'p:' .. probe.token
  if h[field] and probe.generation == gen and state == 'half_open' then
    drop(field)
    if probe.verdict == 'ok' then
      good = good + 1
      set('ok', good)
      if good >= r.trials then move('closed') end
    elseif probe.verdict == 'failure' then
      openUntil = now + r.openMs
      move('open')
    end
  end
end

if r.withdraw then drop('v:' .. r.node) end
if r.close then
  for _, field in ipairs(fields('v:')) do drop(field) end
  if state ~= 'closed' then move('closed') end
end

if r.voteOpenMs and state == 'closed' and r.generation == gen then
  set('v:' .. r.node, now)
  if #fields('v:') >= r.quorum then
    openUntil = now + r.voteOpenMs
    move('open')
  end
end

local granted = {}
if r.wanted > 0 then
  if state == 'open' and now >= openUntil then move('half_open') end
  if state == 'half_open' then
    local free = r.trials - good - #fields('p:')
    for _ = 1, math.min(free, r.wanted) do
      set('seq', tonumber(h.seq or '0') + 1)
      local token = r.node .. ':' .. h.seq
      set('p:' .. token, now + r.leaseMs)
      granted[#granted + 1] = token
    end
    if #granted == 0 then set('wait', now) end
  end
end

if moved then
  set('gen', gen)
  set('state', state)
  set('until', openUntil)
  set('ok', good)
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
if dirty then redis.call('PEXPIRE', KEYS[1], math.floor(10 * (r.voteMs + r.openMs + r.leaseMs))) end

local votes = {}
for _, field in ipairs(fields('v:')) do votes[#votes + 1] = string.sub(field, 3) end
table.sort(votes)
local remaining = 0
if state == 'open' and openUntil > now then remaining = openUntil - now end
local contended = h.wait and now - tonumber(h.wait) < 5000
return cjson.encode({
  generation = gen,
  state = state,
  remainingMs = remaining,
  votes = votes,
  granted = granted,
  contended = contended == true,
  calls = tonumber(h.calls or '0'),
  failures = tonumber(h.failures or '0'),
})
`

/**
 * Breakers' common state in Redis: one hash a breaker, one script for all that happens to it, on Redis's clock.
 *
 * Making it sends nothing. Nothing is sent on a call's way either: `shareBreakers` exchanges in the background.
 */
export function redisBreakerStore(options: RedisBreakerStoreOptions): BreakerStore {
  const { client, subscriber, prefix = 'gw:breaker' } = options
  const channel = `${prefix}:changed`
  return {
    async exchange(name: string, request: ClusterRequest): Promise<ClusterState> {
      const answer = await client.eval(script, {
        keys: [`${prefix}:{${name}}`],
        arguments: [JSON.stringify(request), channel, name],
      })
      const state = JSON.parse(String(answer)) as ClusterState
      return { ...state, votes: listOf(state.votes), granted: listOf(state.granted) }
    },
    ...(subscriber === undefined
      ? {}
      : {
          async watch(listener: (name: string) => void): Promise<() => Promise<void>> {
            const heard = (name: string): void => listener(name)
            await subscriber.subscribe(channel, heard)
            return async () => {
              await subscriber.unsubscribe(channel, heard)
            }
          },
        }),
  }
}

/** An empty table is an object to Lua's JSON. */
function listOf(table: readonly string[]): readonly string[] {
  return Array.isArray(table) ? table : []
}
