-- What follows from a build's change of state; put before each script that says "with _admission".
-- with _logs
-- with _fence
-- with _offers
-- with _apps
-- KEYS: 1 the namespace. The names of keys are made here: a build's tenant and app are known from its record only.
-- ARGV: 1 terms (JSON; buildfarm/store/admission.py): classes, limits if none are set, bounds of what is kept
--
-- A class of builds of another size than standard is its kind here, as interactiveXlarge, with lists and counts of its own.
--
-- build:<id>          hash: the record. place is "tenant app target", without the target where no newer build may take
--                     its place; queue is "build.<class>.<shard>"
-- build:<id>:end      stream: one entry for some seconds after its end, for readers of its log that wait
-- tenant:<t>          hash: held, queued, running, and the same as held:<class> ...; app:<a>: its queued and running builds;
--                     newest:<target>: open builds that a newer one may supersede, in their order
-- class:<c>           hash: held, queued, running of all tenants
-- held:<c>:<t>/<a>    zset: held builds by their turn
-- ready:<c>:<t>       zset: apps that have held builds and room for one, by the turn of their first
-- waiting:<c>:<t>     zset: held and queued builds by when they were submitted
-- lacking:<c>:<t>     set: queued builds whose base a node did not have; expires
-- tenants:<c>         zset: tenants with waiting builds by when the oldest was submitted
-- queued              zset: queued builds by when their message was sent
-- retries             zset: queued builds that wait for another attempt, by when it may begin
-- leases              zset: running builds by when their lease ends
-- tags                hash: target -> digest its tag should point to
-- unsettled           zset: targets whose tag may be elsewhere, by when to look
-- expiring            zset: waiting builds that wait no longer than this
-- limits              hash: "<t>:running", "<t>:waiting", "<t>/<a>:running"
-- sizes               hash: "<t>" -> the sizes that it may use, if that was set
-- events              stream: every change of state
-- calls               channel: ids of builds that have something new for their nodes
-- build.<class>...    list: a queue of Celery's; messages come in at its left end
local namespace, terms = KEYS[1], cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local stamp = string.format('%.6f', now)
local messages_sent = 0

local MESSAGES_MAX = 1000  -- of a queue, beside two for each queued build
local PAUSING_MAX = 100
local END_SECONDS = 10  -- longer than a reader of a log waits before it looks again
local COUNTED = {held = true, queued = true, running = true}
local WAITING = {held = true, queued = true}
local HAS_SLOT = {queued = true, running = true}

local function key(name) return namespace .. name end

local function held_key(class, tenant, app) return key('held:' .. class .. ':' .. tenant .. '/' .. app) end

local function lacking_key(class, tenant) return key('lacking:' .. class .. ':' .. tenant) end

-- A build's message. Wherever it is put: a node that leaves before it acknowledged the message returns it to this queue.
local function message_of(id, queue, tag)
  local filled = {['@id@'] = id, ['@queue@'] = queue, ['@tag@'] = id .. '-' .. tag}
  return (string.gsub(terms.message, '@%l+@', filled))
end

-- Messages of builds that were cancelled or superseded stay until a node takes them from the queue. Where none reads it,
-- the queue is written anew with those of the builds that are still queued.
local function tidy(queue)
  local most = MESSAGES_MAX + 2 * redis.call('ZCARD', key('queued'))
  if redis.call('LLEN', key(queue)) <= most then return end
  redis.call('DEL', key(queue))
  for _, id in ipairs(redis.call('ZRANGE', key('queued'), 0, -1)) do
    local own, attempt = unpack(redis.call('HMGET', key('build:' .. id), 'queue', 'attempt'))
    local class = string.match(own or '', '^build%.(%w+)%.')
    if (own == queue or (class and attempt ~= '0' and queue == 'build.' .. class .. '.retry'))
      and not redis.call('ZSCORE', key('retries'), id) then
      redis.call('LPUSH', key(queue), message_of(id, queue, stamp .. '-anew'))
    end
  end
end

-- Sends a build's message in the same step that queues it: neither can be there without the other.
local function wake(id, queue)
  tidy(queue)
  messages_sent = messages_sent + 1
  redis.call('LPUSH', key(queue), message_of(id, queue, stamp .. '-' .. messages_sent))
end

-- A build as far as admission needs it; nil if there is none.
local function load(id)
  local fields = redis.call('HMGET', key('build:' .. id), 'state', 'place', 'queue', 'submitted_at', 'attempt', 'cancel',
    'superseded_by', 'expires_at', 'holder', 'phase', 'offered')
  if not (fields[1] and fields[2]) then return nil end
  local tenant, app, target = string.match(fields[2], '^(%S+) (%S+) ?(%S*)$')
  return {
    id = id, state = fields[1], tenant = tenant, app = app, target = target ~= '' and target or nil,
    queue = fields[3], class = string.match(fields[3], '^build%.(%w+)%.'), submitted_at = fields[4],
    attempt = fields[5], cancel = fields[6], superseded_by = fields[7], expires_at = tonumber(fields[8] or nil),
    fence = fence_of(fields[5], fields[9]), publishes = fields[1] == 'running' and fields[10] == 'publish',
    offered = fields[11],
  }
end

local function limit(field, otherwise) return tonumber(redis.call('HGET', key('limits'), field) or otherwise) end

local function numbers(hash, ...)
  local found = redis.call('HMGET', hash, ...)
  for i = 1, #found do found[i] = tonumber(found[i] or 0) end
  return unpack(found)
end

-- Fields that come to zero go away, so that nothing is left of a tenant without builds.
local function count(hash, field, by)
  if redis.call('HINCRBY', hash, field, by) == 0 then redis.call('HDEL', hash, field) end
end

local function count_state(build, state, by)
  if not COUNTED[state] then return end
  count(key('class:' .. build.class), state, by)
  count(key('tenant:' .. build.tenant), state, by)
  count(key('tenant:' .. build.tenant), state .. ':' .. build.class, by)
end

-- Shows an app's oldest held build where the app has room for it, else takes the app out of sight.
local function offer(tenant, app)
  local taken = numbers(key('tenant:' .. tenant), 'app:' .. app)
  local has_room = taken < limit(tenant .. '/' .. app .. ':running', terms.app_running)
  for _, class in ipairs(terms.classes) do
    local ready = key('ready:' .. class.name .. ':' .. tenant)
    local oldest = has_room and redis.call('ZRANGE', held_key(class.name, tenant, app), 0, 0, 'WITHSCORES') or {}
    if oldest[1] then redis.call('ZADD', ready, oldest[2], app) else redis.call('ZREM', ready, app) end
  end
end

local function show_oldest(class, tenant)
  local oldest = redis.call('ZRANGE', key('waiting:' .. class .. ':' .. tenant), 0, 0, 'WITHSCORES')
  if oldest[1] then
    redis.call('ZADD', key('tenants:' .. class), oldest[2], tenant)
  else
    redis.call('ZREM', key('tenants:' .. class), tenant)
  end
end

-- The builds of a target that a newer one may supersede, without one of them.
local function open_of_target(build, without)
  local open = {}
  local ids = redis.call('HGET', key('tenant:' .. build.tenant), 'newest:' .. build.target) or ''
  for id in string.gmatch(ids, '%S+') do
    if id ~= without then open[#open + 1] = id end
  end
  return open
end

local function set_open_of_target(build, ids)
  local tenant, field = key('tenant:' .. build.tenant), 'newest:' .. build.target
  if #ids > 0 then
    redis.call('HSET', tenant, field, table.concat(ids, ' '))
  else
    redis.call('HDEL', tenant, field)
  end
end

-- The tag of a target may not be where the record says: some node looks at it after so many seconds.
local function unsettle(target, seconds)
  if target then redis.call('ZADD', key('unsettled'), string.format('%.6f', now + seconds), target) end
end

-- A build that ends without success may have moved its tag in writes that Redis lost since.
local function unsettle_unless_succeeded(build, record)
  local target = build.state ~= 'succeeded' and redis.call('HGET', record, 'target')
  if target and redis.call('HEXISTS', key('tags'), target) == 1 then unsettle(target, 0) end
end

-- A field of the policy that was set for the build's app or tenant.
local function retained(build, name, otherwise)
  local fields = {build.tenant .. '/' .. build.app .. ':' .. name, build.tenant .. ':' .. name}
  local found = redis.call('HMGET', key('retention'), unpack(fields))
  return tonumber(found[1] or found[2] or otherwise)
end

-- Ended builds of the app beyond its newest so many are gone in a minute. A few at a time: one more ends with each.
local function expire_older(build)
  local most = retained(build, 'records', terms.records)
  if most == 0 then return end
  for _, id in ipairs(redis.call('ZREVRANGE', key('app:' .. build.tenant .. '/' .. build.app), most, most + 9)) do
    local record = key('build:' .. id)
    if redis.call('HEXISTS', record, 'finished_at') == 1 then redis.call('EXPIRE', record, 60) end
  end
end

local function end_record(build)
  local record = key('build:' .. build.id)
  redis.call('HSET', record, 'finished_at', stamp)
  redis.call('HDEL', record, 'cancel', 'published', 'sign_documents')
  unsettle_unless_succeeded(build, record)
  redis.call('DEL', record .. ':env')
  redis.call('EXPIRE', record, math.ceil(retained(build, 'record_days', terms.record_seconds / 86400) * 86400))
  expire_older(build)
  end_log(build.tenant, build.id, now)
  note_end(namespace, build, now, terms.apps_seconds)
  redis.call('XADD', record .. ':end', 'MAXLEN', 1, '*', 'state', build.state)
  redis.call('EXPIRE', record .. ':end', END_SECONDS)
  if build.target then set_open_of_target(build, open_of_target(build, build.id)) end
end

-- Asks a running build to end. Its node receives the call at once; if it misses it, the next renewal returns the same.
local function call_off(build)
  redis.call('HSET', key('build:' .. build.id), 'cancel', 1)
  redis.call('PUBLISH', key('calls'), build.id)
end

local function tell(build, ...)
  redis.call('XADD', key('events'), 'MAXLEN', '~', terms.events_max, '*', 'build', build.id, 'state', build.state,
    'tenant', build.tenant, 'app', build.app, 'build_class', class_of(build.class), ...)
end

-- The one place where a build changes its state. What is left to the caller: the lease, and the fields of an outcome.
local function enter(build, state, turn)
  local from = build.state
  build.state = state
  count_state(build, from, -1)
  count_state(build, state, 1)
  if from == 'held' then
    redis.call('ZREM', held_key(build.class, build.tenant, build.app), build.id)
  elseif from == 'queued' then
    redis.call('ZREM', key('queued'), build.id)
    redis.call('ZREM', key('retries'), build.id)
  elseif from == 'running' then
    redis.call('ZREM', key('leases'), build.id)
    local node, handed = unpack(redis.call('HMGET', key('build:' .. build.id), 'node', 'handed'))
    -- A build that waits for the signer has given its slot back already.
    if string.match(handed or '', '^%d+') ~= build.attempt then count_free(node or '', 1) end
  end
  if state == 'held' then
    redis.call('ZADD', held_key(build.class, build.tenant, build.app), turn or build.submitted_at, build.id)
  elseif state == 'queued' then
    redis.call('ZADD', key('queued'), stamp, build.id)
  end
  if HAS_SLOT[state] and not HAS_SLOT[from] then count(key('tenant:' .. build.tenant), 'app:' .. build.app, 1) end
  if HAS_SLOT[from] and not HAS_SLOT[state] then count(key('tenant:' .. build.tenant), 'app:' .. build.app, -1) end
  local waiting = key('waiting:' .. build.class .. ':' .. build.tenant)
  if WAITING[state] and not WAITING[from] then
    redis.call('ZADD', waiting, build.submitted_at, build.id)
    show_oldest(build.class, build.tenant)
  elseif WAITING[from] and not WAITING[state] then
    redis.call('ZREM', waiting, build.id)
    show_oldest(build.class, build.tenant)
    if build.expires_at then redis.call('ZREM', key('expiring'), build.id) end
  end
  if not (HAS_SLOT[from] and HAS_SLOT[state]) then offer(build.tenant, build.app) end
  redis.call('HSET', key('build:' .. build.id), 'state', state)
  if not COUNTED[state] then end_record(build) end
end

-- How many of a tenant's queued builds wait for a base. They keep no others from the queues; those that wait no more are left out.
local function count_lacking(class, tenant)
  local count = 0
  for _, id in ipairs(redis.call('SMEMBERS', lacking_key(class, tenant))) do
    local state, lacks = unpack(redis.call('HMGET', key('build:' .. id), 'state', 'lacks'))
    if state == 'queued' and lacks then
      count = count + 1
    else
      redis.call('SREM', lacking_key(class, tenant), id)
    end
  end
  return count
end

-- How many sizes a tenant may use, of those that there are.
local function sizes_of(tenant)
  if terms.sizes == 1 then return 1 end
  local _, set = string.gsub(redis.call('HGET', key('sizes'), tenant) or '', '[^,]+', '')
  return math.min(set > 0 and set or terms.tenant_sizes, terms.sizes)
end

-- How many of a tenant's places its queued builds of each size may have: a size that no node takes leaves places to others.
local function places_of_size(most, sizes) return math.max(1, math.floor(most / sizes)) end

-- A tenant's builds between two attempts, by size; only so many are looked at.
local function pausing(tenant)
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', key('retries'), 0, PAUSING_MAX - 1)) do
    local build = load(id)
    if build and build.tenant == tenant and redis.call('HEXISTS', key('build:' .. id), 'lacks') == 0 then
      found[size_of(build.class)] = (found[size_of(build.class)] or 0) + 1
    end
  end
  return found
end

-- Those that nodes could take now: one that pauses or lacks its base keeps no others from the queue.
local function queued_of_sizes(tenant)
  local found, paused = {}, pausing(tenant)
  for _, class in ipairs(terms.classes) do
    local size = size_of(class.name)
    local queued = numbers(key('tenant:' .. tenant), 'queued:' .. class.name)
    if queued > 0 then queued = queued - count_lacking(class.name, tenant) end
    found[size] = (found[size] or -(paused[size] or 0)) + queued
  end
  return found
end

-- The class whose build a tenant gets next: the one that has least of what its weight gives it.
local function next_class(tenant, most)
  local best, least
  local sizes = sizes_of(tenant)
  local places, of_sizes = places_of_size(most, sizes), sizes > 1 and queued_of_sizes(tenant) or {}
  for _, class in ipairs(terms.classes) do
    local queued, running = numbers(key('tenant:' .. tenant), 'queued:' .. class.name, 'running:' .. class.name)
    if queued >= terms.ahead then queued = queued - count_lacking(class.name, tenant) end
    local share = (queued + running) / class.weight
    -- Only a few of a tenant's builds stand in Celery's queues, where builds of others would have to wait behind them.
    if queued < terms.ahead and (of_sizes[size_of(class.name)] or 0) < places and (not least or share < least)
      and redis.call('EXISTS', key('ready:' .. class.name .. ':' .. tenant)) == 1 then
      best, least = class.name, share
    end
  end
  return best
end

-- Queues a tenant's held builds, oldest first, as long as its limits allow it.
local function admit(tenant)
  local most = limit(tenant .. ':running', terms.tenant_running)
  while true do
    local queued, running = numbers(key('tenant:' .. tenant), 'queued', 'running')
    local class = queued + running < most and next_class(tenant, most)
    if not class then return end
    local app = redis.call('ZRANGE', key('ready:' .. class .. ':' .. tenant), 0, 0)[1]
    local id = redis.call('ZRANGE', held_key(class, tenant, app), 0, 0)[1]
    local build = load(id)
    if build then
      enter(build, 'queued')
      tell(build)
      wake(id, build.queue)
    else
      redis.call('ZREM', held_key(class, tenant, app), id)  -- the record was deleted
      offer(tenant, app)
    end
  end
end

