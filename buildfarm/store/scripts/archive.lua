-- Ended builds leave Redis: a pack with them is in the registry.
-- with _logs
-- with _archived
-- with _apps
-- KEYS: 1 the namespace
-- ARGV: 1 what became of them (JSON): tenant, app ('': of several), pack (a new pack, or ''), loose (its note in
--         archive:loose), old (packs that are in it), gone (what the registry no longer needs), builds (ids), kept, tenant_kept (the
--         newest of all and of a tenant stay in lists), inputs (how many of an app's), record_seconds
-- archive:<t>/<a> (zset: packs by when their newest build was submitted)  archive:apps (zset: apps by their oldest pack)
-- archive:loose (set: "repository digest" of what the registry is to forget)
-- memos:<t>/<a> (zset: "digest id" of the newest inputs of archived builds; expires)
-- last:<t>/<a> (string: "time node" of the app's newest success that has left app:<t>/<a>; expires with its record)
-- Returns 0 where one of the old packs or the note is no longer there: another node has joined or removed it.
local told = cjson.decode(ARGV[1])
local place = told.tenant .. '/' .. told.app
local packs = prefix .. 'archive:' .. place

local function last_of(pack) return string.match(pack, '^%S+ %S+ %S+ %S+ %S+ (%S+)') end

for _, pack in ipairs(told.old) do
  if not redis.call('ZSCORE', packs, pack) then return 0 end
end
if told.loose ~= '' and redis.call('SREM', prefix .. 'archive:loose', told.loose) == 0 then return 0 end
if told.pack ~= '' then
  redis.call('ZADD', packs, last_of(told.pack), told.pack)
  note_app(prefix, told.tenant, told.app, last_of(told.pack))  -- after a restore, and for builds of older versions
end
for _, pack in ipairs(told.old) do
  if pack ~= told.pack then redis.call('ZREM', packs, pack) end
end
for _, reference in ipairs(told.gone) do redis.call('SADD', prefix .. 'archive:loose', reference) end
local oldest = redis.call('ZRANGE', packs, 0, 0, 'WITHSCORES')
if oldest[1] then
  redis.call('ZADD', prefix .. 'archive:apps', oldest[2], place)
else
  redis.call('ZREM', prefix .. 'archive:apps', place)
  local known = redis.call('EXISTS', prefix .. 'app:' .. place) == 1
    or redis.call('HEXISTS', prefix .. 'tenant:' .. told.tenant, 'app:' .. told.app) == 1
  -- Nothing is left of an app without builds: its tag stays where it is.
  if not known and told.app ~= '' then
    redis.call('HDEL', prefix .. 'tags', 'apps/' .. place)
    forget_app(prefix, place)
  end
end

-- An equal input is answered with this image for as long as before, but only an app's newest inputs are remembered.
local function remember(record, id)
  local input = redis.call('HGET', record, 'input')
  local memo = input and prefix .. 'memo:' .. input
  if not memo or redis.call('GET', memo) ~= id then return end
  local clock, inputs = redis.call('TIME'), prefix .. 'memos:' .. place
  redis.call('UNLINK', memo)
  redis.call('ZADD', inputs, clock[1] + clock[2] / 1000000, input .. ' ' .. id)
  redis.call('ZREMRANGEBYRANK', inputs, 0, -1 - told.inputs)
  redis.call('EXPIRE', inputs, told.record_seconds)
end

-- The app's next build is offered to the node of its last success, as if the record were still here.
local function remember_node(state, node, submitted)
  local last = prefix .. 'last:' .. place
  local known = string.match(redis.call('GET', last) or '', '^%S+')
  if state ~= 'succeeded' or not node or tonumber(known or 0) > tonumber(submitted) then return end
  redis.call('SET', last, submitted .. ' ' .. node, 'EX', told.record_seconds)
end

local function is_newest(index, id, most)
  local rank = redis.call('ZREVRANK', prefix .. index, id)
  return rank and rank < most
end

for _, id in ipairs(told.builds) do
  local record = prefix .. 'build:' .. id
  local submitted, finished, state, node =
    unpack(redis.call('HMGET', record, 'submitted_at', 'finished_at', 'state', 'node'))
  if submitted then
    remember_node(state, node, submitted)
    if told.pack ~= '' then redis.call('HSET', archived_key(prefix, id), id, place .. ' ' .. math.floor(submitted)) end
    remove_log(told.tenant, id, tonumber(finished))
    redis.call('ZREM', prefix .. 'app:' .. place, id)
    if is_newest('builds', id, told.kept) or is_newest('builds:' .. told.tenant, id, told.tenant_kept) then
      redis.call('HSET', record, 'archived', 1)
    else
      remember(record, id)
      redis.call('UNLINK', record, record .. ':end')
      redis.call('ZREM', prefix .. 'builds', id)
      redis.call('ZREM', prefix .. 'builds:' .. told.tenant, id)
    end
  else
    -- Its record has expired, while it was among the newest.
    for _, index in ipairs({'builds', 'builds:' .. told.tenant, 'app:' .. place}) do
      redis.call('ZREM', prefix .. index, id)
    end
  end
end
return 1
