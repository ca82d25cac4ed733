-- Accepts a build, in one step with all that follows: it takes the place of older ones, and is queued or held.
-- with _admission
-- with _archived
-- ARGV: 2 id  3 request (JSON)  4 place  5 queue  6 run policy  7 seconds that it may wait, or ''
--       8 idempotency key, or ''  9 digest of the request, for that key
--       10 result (JSON) of an equal build, or ''  11 that build's id  12 digest of its image
--       13 encrypted config vars, or ''  14 what provenance says of them (JSON), or ''
--       of a rebuild, which must not undo what is newer: 15 digest of the app's newest image  16 id of its rollout  17 the
--       rollout's revision
-- build:<id>  declared: argument 14
-- build:<id>:env (string: encrypted config vars; gone when the build ends)
-- key:<t>:<key> (string: id and digest of the request; expires)  tags (hash: target -> digest its tag should point to)
-- rollout:<id> (hash: revision, as rollout.lua writes it; read for a rebuild)
-- unsettled (zset: the target of an equal build; the submitter moves its tag, and a node makes sure of it)
-- builds, builds:<t>, app:<t>/<a> (zsets: builds by time, bounded)
-- Answers {'new' | 'memo', id, the record} or {'same', id, digest of that request}, or {'full', builds waiting, limit};
-- {'memory', bytes that Redis uses, maxmemory} where Redis is nearly full; {'newer'} of a rebuild, if the rollout or the app's
-- image has changed, or another build of the app has not ended.
local id, policy, target = ARGV[2], ARGV[6], nil
local record = key('build:' .. id)
local build = {id = id, queue = ARGV[5], class = string.match(ARGV[5], '^build%.(%w+)%.'), submitted_at = stamp}
build.tenant, build.app, target = string.match(ARGV[4], '^(%S+) (%S+) (%S+)$')
if policy ~= 'all' then build.target = target end
local tenant = key('tenant:' .. build.tenant)
local idempotency = ARGV[8] ~= '' and key('key:' .. build.tenant .. ':' .. ARGV[8])

local function is_known(other)
  return redis.call('EXISTS', key('build:' .. other)) == 1 or redis.call('HEXISTS', archived_key(namespace, other), other) == 1
end

if is_known(id) then return {'same', id, ''} end
if idempotency then
  local found, digest = string.match(redis.call('GET', idempotency) or '', '^(%S+) (%S+)$')
  if found and is_known(found) then return {'same', found, digest} end
end

-- Submits are refused first, so that there is room for whatever ends the builds that are there.
local used, most_memory = memory()
if is_full(used, most_memory) then return {'memory', used, most_memory} end

-- Whether no other build of the app could publish after this step.
local function is_alone()
  if numbers(tenant, 'app:' .. build.app) > 0 then return false end
  for _, class in ipairs(terms.classes) do
    if redis.call('EXISTS', held_key(class.name, build.tenant, build.app)) == 1 then return false end
  end
  return true
end
if ARGV[15] then
  local is_newest = (redis.call('HGET', key('tags'), target) or '') == ARGV[15]
  local is_same = redis.call('HGET', key('rollout:' .. ARGV[16]), 'revision') == ARGV[17]
  if not (is_newest and is_same and is_alone()) then return {'newer'} end
end

local older = {}
for _, open in ipairs(build.target and open_of_target(build) or {}) do older[#older + 1] = load(open) end
local replaced = 0
for _, other in ipairs(older) do replaced = replaced + (WAITING[other.state] and 1 or 0) end

-- An equal build's image is the answer only where no other build of the app could publish after it.
local memo = ARGV[10] ~= '' and is_alone()
if not memo then
  local held, queued = numbers(tenant, 'held', 'queued')
  local most = limit(build.tenant .. ':waiting', terms.tenant_waiting)
  if held + queued - replaced >= most then return {'full', held + queued, most} end
end

redis.call('HSET', record, 'id', id, 'request', ARGV[3], 'queue', build.queue, 'attempt', 0, 'submitted_at', stamp,
  'target', target, 'place', build.tenant .. ' ' .. build.app .. (build.target and ' ' .. build.target or ''))
if (ARGV[14] or '') ~= '' then redis.call('HSET', record, 'declared', ARGV[14]) end
if idempotency then redis.call('SET', idempotency, id .. ' ' .. ARGV[9], 'EX', terms.key_seconds) end
redis.call('ZADD', key('builds'), stamp, id)
redis.call('ZREMRANGEBYRANK', key('builds'), 0, -1 - terms.index_max)
for _, own in ipairs({{'app:' .. build.tenant .. '/' .. build.app, terms.app_index_max},
                      {'builds:' .. build.tenant, terms.index_max}}) do
  local index = key(own[1])
  redis.call('ZADD', index, stamp, id)
  redis.call('ZREMRANGEBYRANK', index, 0, -1 - own[2])
  redis.call('EXPIRE', index, 2 * terms.record_seconds)
end
note_app(namespace, build.tenant, build.app, stamp)
forget_idle_apps(namespace, now - terms.apps_seconds)

if memo then
  redis.call('HSET', record, 'result', ARGV[10], 'memo_of', ARGV[11])
  redis.call('HSET', key('tags'), target, ARGV[12])
  unsettle(target, 5)
  enter(build, 'succeeded')
  tell(build)
  return {'memo', id, redis.call('HGETALL', record)}
end

if ARGV[13] ~= '' then redis.call('SET', record .. ':env', ARGV[13]) end
local turn, kept = nil, {}
for _, other in ipairs(older) do
  local superseded = WAITING[other.state]
  local ends = policy == 'latest_always' and other.state == 'running' and not other.publishes
  if superseded or ends then
    redis.call('HSET', key('build:' .. other.id), 'superseded_by', id)
  end
  if superseded then
    -- The newer build inherits the turn: who pushes often would otherwise never be built.
    turn = turn or redis.call('ZSCORE', held_key(other.class, other.tenant, other.app), other.id) or other.submitted_at
    enter(other, 'superseded')
    tell(other, 'superseded_by', id)
  else
    if ends then call_off(other) end
    kept[#kept + 1] = other.id
  end
end
if build.target then
  kept[#kept + 1] = id
  set_open_of_target(build, kept)
end
if ARGV[7] ~= '' then
  build.expires_at = now + ARGV[7]
  redis.call('HSET', record, 'expires_at', string.format('%.6f', build.expires_at))
  redis.call('ZADD', key('expiring'), build.expires_at, id)
end
enter(build, 'held', turn)
admit(build.tenant)
if redis.call('HGET', record, 'state') == 'held' then tell(build) end
return {'new', id, redis.call('HGETALL', record)}
