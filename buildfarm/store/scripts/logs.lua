-- Looks after the logs of all builds: removes those whose time is over, keeps the sums within their bounds, and now and
-- then adds a few tenants' sums up anew. Every node calls it; one call a second does the work.
-- with _logs
-- KEYS: 1 the namespace
-- ARGV: 1 bounds in bytes (JSON), as in append.lua  2 seconds that an ended build's log is kept
--       3 seconds between two looks  4 seconds between two recounts
-- logs:looked, logs:counted (strings: a node did it just now; expire)
-- Returns how many logs were removed because of their age, and by how many bytes the sums were wrong.
local pause_milliseconds = math.floor(ARGV[3] * 1000)
if pause_milliseconds > 0 and not redis.call('SET', prefix .. 'logs:looked', 1, 'NX', 'PX', pause_milliseconds) then
  return {0, 0}
end
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local old = redis.call('ZRANGE', prefix .. 'logs:ended', '-inf', now - ARGV[2], 'BYSCORE', 'LIMIT', 0, STEPS_MAX)
for _, member in ipairs(old) do remove_ended(member) end

local FINAL = {succeeded = true, failed = true, cancelled = true, superseded = true}

-- A node of an older version ends builds without updating the indexes, and gives logs a time to live.
local function end_forgotten(tenant)
  for _, member in ipairs(redis.call('ZRANGE', indexes('open', tenant)[2], 0, -1)) do
    local id = string.match(member, '(%S+)$')
    local state = redis.call('HGET', prefix .. 'build:' .. id, 'state')
    if not state or FINAL[state] then
      for _, what in ipairs({'', ':tail', ':parts'}) do redis.call('PERSIST', log_key(id, what)) end
      end_log(tenant, id, now)
    end
  end
end

local function sum_of(tenant)
  local sum = 0
  local open = redis.call('ZRANGE', indexes('open', tenant)[2], 0, -1, 'WITHSCORES')
  for i = 2, #open, 2 do sum = sum + open[i] end
  for _, member in ipairs(redis.call('ZRANGE', indexes('ended', tenant)[2], 0, -1)) do
    sum = sum + tonumber(string.match(member, '(%d+)$'))
  end
  return sum
end

local function total()
  local sums, sum = redis.call('HGETALL', prefix .. 'logs'), 0
  for i = 1, #sums, 2 do
    if string.sub(sums[i], 1, 1) ~= '*' then sum = sum + sums[i + 1] end
  end
  return sum
end

-- Returns by how much the sum was wrong.
local function correct(field, sum)
  local wrong = sum - tonumber(redis.call('HGET', prefix .. 'logs', field) or 0)
  if sum == 0 then
    redis.call('HDEL', prefix .. 'logs', field)
  elseif wrong ~= 0 then
    redis.call('HSET', prefix .. 'logs', field, sum)
  end
  return math.abs(wrong)
end

-- Some of those that have a sum, an open log or an ended one, whichever of these is wrong.
local function some_tenants()
  local found, seen = {}, {}
  local picked = redis.call('HRANDFIELD', prefix .. 'logs', 8)
  for _, index in ipairs({'logs:open', 'logs:ended'}) do
    for _, member in ipairs(redis.call('ZRANDMEMBER', prefix .. index, 8)) do
      picked[#picked + 1] = string.match(member, '^%S+')
    end
  end
  for _, tenant in ipairs(picked) do
    if string.sub(tenant, 1, 1) ~= '*' and not seen[tenant] then
      seen[tenant], found[#found + 1] = true, tenant
    end
  end
  return found
end

local used, most = memory()
local tenants, wrong = some_tenants(), 0
local recount_seconds = tonumber(ARGV[4])
if recount_seconds == 0 or redis.call('SET', prefix .. 'logs:counted', 1, 'NX', 'EX', recount_seconds) then
  for _, tenant in ipairs(tenants) do
    end_forgotten(tenant)
    wrong = wrong + correct(tenant, sum_of(tenant))
  end
  wrong = math.max(wrong, correct('*', total()))
end
local before = tonumber(redis.call('HGET', prefix .. 'logs', '*') or 0)
keep_within(cjson.decode(ARGV[1]), tenants, used, most, before)
return {#old, wrong}
