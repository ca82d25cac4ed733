-- Takes a queued build for a node: running, with the next attempt number and a lease.
-- with _admission
-- with _bases
-- ARGV: 2 id  3 node  4 lease in seconds  5 failure (JSON) of a build that waited for too long
--       6 token, chosen by the caller: the same claim sent twice is one claim and gets the same answer
--       7 '1': a build whose app another node built last is offered to that node first, if it has room; once
--       8 the bases that the node has (JSON): channels, by name the one that it uses for each; has, all of them as keys.
--         '': it does not choose by app
--       9 failure (JSON) of a build that has waited for its base for too long
--       10 the size that the node has room for: a build of another one is left to its own message. '': any
-- build:<id>  offered: the node that the build was offered to; base: the attempt, the channel, and the base that the attempt
--             stands on; lacks: a base that a node did not have, lacked_at: when that was last, lacked: for how many seconds so far
-- rebases:<t>/<a> (list: as in rebase.lua)
-- last:<t>/<a> (string: as in archive.lua, for an app whose builds are all archived)
-- started:<minute> (hash: starts by class and by "class tenant"; expires)
-- Answers {attempt, the record, the node that built the app last or ''}, or {0, reason} if there is nothing to claim: the
-- message is dropped. {0, 'offered', id}: the caller keeps the message, and claims the build a little later. {0, 'base'}: the
-- node lacks the build's base; the message is dropped here too, and another one sent to all nodes in a second.
local OTHER_NODE_SECONDS = 1
local NO_BASE_SECONDS = 900  -- that a build waits for a base that no node has
local LACKED_SECONDS = 60  -- as much as that counts between two claims: while no node claims, none can have the base
local SILENT_SECONDS = 10  -- a node whose last heartbeat is older is gone
local LAST_BUILDS = 10  -- of an app, among which its last success is looked for
local OFFER_LOST_SECONDS = 1  -- after this, the node that offered the build and the one that it was offered to must have died

local function last_node(build)
  local newest = redis.call('ZREVRANGE', key('app:' .. build.tenant .. '/' .. build.app), 0, LAST_BUILDS - 1)
  for _, id in ipairs(newest) do
    local state, node = unpack(redis.call('HMGET', key('build:' .. id), 'state', 'node'))
    if state == 'succeeded' and node then return node end  -- a cached result has none
  end
  local archived = redis.call('GET', key('last:' .. build.tenant .. '/' .. build.app)) or ''
  return string.match(archived, '^%S+ (%S+)$') or ''
end

-- Whether the app's newest move was to this base: a build on an earlier one would take it back.
local function was_moved(place, base)
  local newest = redis.call('LINDEX', key('rebases:' .. place), 0)
  return newest and cjson.decode(newest).base == base
end

-- The channel, the base that a build stands on here, or nil if the node lacks it, and the base that it should have. A
-- channel that has just moved counts as where it was until the node has its new base; a base that a rollout has chosen for
-- the app, or that its image was moved to, is exact.
local function base_here(build, told)
  local place = build.tenant .. '/' .. build.app
  local channel, base, chosen = bases_of_app(namespace, place)
  local node = cjson.decode(told)
  local wanted = chosen ~= '' and chosen or base
  if node.has[wanted] then return channel, wanted, wanted end
  local exact = chosen ~= '' or was_moved(place, wanted)
  return channel, not exact and node.channels[channel] or nil, wanted
end

local function has_base(node, base)
  local seen_at, builder, builders = unpack(redis.call('HMGET', heartbeat(node), 'seen_at', 'builder', 'builders'))
  local digest = string.match(base, '@(.+)$') or base
  return now - tonumber(seen_at or 0) < SILENT_SECONDS
    and string.find((builder or '') .. ' ' .. (builders or ''), digest, 1, true) ~= nil
end

-- Whether a node for builds of a class has a base; an older one does not say which classes it takes.
local function any_has_base(class, base)
  for _, node in ipairs(redis.call('ZRANGE', key('nodes'), 0, -1)) do
    local classes = redis.call('HGET', heartbeat(node), 'classes') or '[]'
    local serves = classes == '[]' or string.find(classes, '"' .. class .. '"', 1, true)
    if serves and has_base(node, base) then return true end
  end
  return false
end

-- Notes that a node lacks a build's base. Answers for how many seconds the build has waited for this one.
local function note_lack(build, base)
  local record = key('build:' .. build.id)
  local lacks, at, lacked = unpack(redis.call('HMGET', record, 'lacks', 'lacked_at', 'lacked'))
  local passed = lacks == base and now - tonumber(at or now) or 0
  lacked = (lacks == base and tonumber(lacked or 0) or 0) + math.max(0, math.min(passed, LACKED_SECONDS))
  redis.call('HSET', record, 'lacks', base, 'lacked_at', stamp, 'lacked', string.format('%.6f', lacked))
  local lacking = lacking_key(build.class, build.tenant)
  redis.call('SADD', lacking, build.id)
  redis.call('EXPIRE', lacking, LACKED_SECONDS)
  return lacked
end

local build = load(ARGV[2])
-- The message of a superseded build serves the one that took its place.
for _ = 1, 1000 do
  if not (build and build.state == 'superseded') then break end
  build = load(build.superseded_by)
end
if not build then return {0, 'unknown'} end
local record = key('build:' .. build.id)
if build.fence == build.attempt .. ' ' .. ARGV[6] then
  if build.state ~= 'running' then return {0, 'given back'} end
  redis.call('ZADD', key('leases'), now + ARGV[4], build.id)
  return {tonumber(build.attempt), redis.call('HGETALL', record), last_node(build)}
end
if build.state ~= 'queued' then return {0, build.state} end
-- One that took the place of a smaller build, or a message that someone else wrote.
if (ARGV[10] or '') ~= '' and size_of(build.class) ~= ARGV[10] then return {0, 'size'} end
if build.expires_at and build.attempt == '0' and build.expires_at <= now then
  redis.call('HSET', record, 'failure', ARGV[5])
  enter(build, 'failed')
  tell(build)
  admit(build.tenant)
  return {0, 'expired'}
end
local channel, base, wanted
if (ARGV[8] or '') ~= '' and build.tenant ~= OWN then
  channel, base, wanted = base_here(build, ARGV[8])
  if not base then
    if note_lack(build, wanted) >= NO_BASE_SECONDS and not any_has_base(build.class, wanted) then
      redis.call('HSET', record, 'failure', ARGV[9])
      redis.call('SREM', lacking_key(build.class, build.tenant), build.id)
      enter(build, 'failed')
      tell(build)
      admit(build.tenant)
      return {0, 'failed'}
    end
    redis.call('ZADD', key('retries'), now + OTHER_NODE_SECONDS, build.id)
    admit(build.tenant)
    return {0, 'base'}
  end
end
local preferred = last_node(build)
if build.offered then
  if build.offered ~= ARGV[3] then withdraw(build.offered, size_of(build.class), message_of(build.id, build.queue, 'offer')) end
elseif ARGV[7] == '1' and preferred ~= '' and preferred ~= ARGV[3] and build.attempt == '0'
  and has_room(preferred, build.class, now) and (not base or has_base(preferred, base)) then
  redis.call('HSET', record, 'offered', preferred)
  redis.call('ZADD', key('retries'), now + OFFER_LOST_SECONDS, build.id)
  offer_to(preferred, size_of(build.class), message_of(build.id, build.queue, 'offer'))
  return {0, 'offered', build.id}
end
local attempt = redis.call('HINCRBY', record, 'attempt', 1)
enter(build, 'running')
redis.call('HSET', record, 'node', ARGV[3], 'phase', 'prepare', 'began', 'prepare=' .. stamp, 'holder',
  attempt .. ' ' .. ARGV[6])
redis.call('HDEL', record, 'published', 'handed', 'named', 'sign_bugs', 'sign_documents', 'log_batch', 'log_now', 'base', 'lacks', 'lacked_at', 'lacked')  -- of an earlier attempt
if base then redis.call('HSET', record, 'base', attempt .. ' ' .. channel .. ' ' .. base) end
redis.call('HSETNX', record, 'started_at', stamp)
count_free(ARGV[3], -1)
redis.call('ZADD', key('leases'), now + ARGV[4], build.id)
tell(build, 'attempt', attempt, 'node', ARGV[3])
local started = key('started:' .. math.floor(now / 60))
redis.call('HINCRBY', started, build.class .. ' ' .. build.tenant, 1)
if redis.call('HINCRBY', started, build.class, 1) == 1 then redis.call('EXPIRE', started, terms.started_seconds) end
admit(build.tenant)
return {attempt, redis.call('HGETALL', record), preferred}
