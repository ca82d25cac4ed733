-- What is kept of logs, and the sums of it; put before each script that says "with _logs".
-- with _memory
-- KEYS: the last one is the namespace. The names of keys are made here.
--
-- build:<id>                  hash: the record. log_bytes and log_lines are what was written; log_head is the part at
--                             the beginning; log_tail is there when that is complete; log_cut "from to lines attempt
--                             phase" is what is missing after the position "from" up to and including "to"
-- build:<id>:log              stream: the beginning of a log (a: attempt, p: phase, t: text)
-- build:<id>:log:tail         stream: its newest lines; made when the beginning is complete
-- build:<id>:log:parts        list: the parts of the tail, oldest first, each "last bytes lines attempt phase"
-- logs                        hash: bytes kept, by tenant; "*": of all; "*dropped": bytes dropped for want of room
-- logs:open, logs:open:<t>    zset: "tenant id" of builds that have a log and have not ended, by bytes kept
-- logs:ended, logs:ended:<t>  zset: "tenant id bytes" of ended builds' logs, by when they ended
-- Logs have no time to live: they are removed here only, in the step that corrects the sums.
local LOG_COST = 5120  -- bytes that a log takes beside its lines (measured with Redis 8.0: 4,320, and the indexes)
local LINE_COST = 64  -- and a line beside its text (measured: 22 to 200)
local STEPS_MAX = 500  -- parts and logs that one call removes at most; what is left is removed by the next ones

local prefix = KEYS[#KEYS]

local function log_key(id, what) return prefix .. 'build:' .. id .. ':log' .. (what or '') end

local function indexes(name, tenant) return {prefix .. 'logs:' .. name, prefix .. 'logs:' .. name .. ':' .. tenant} end

local function part_of(text)
  local last, bytes, lines, attempt, phase = string.match(text or '', '^(%S+) (%d+) (%d+) (%S+) (%S+)$')
  return last and {last = last, bytes = tonumber(bytes), lines = tonumber(lines), attempt = attempt, phase = phase}
end

local function encode_part(part)
  return string.format('%s %.0f %.0f %s %s', part.last, part.bytes, part.lines, part.attempt, part.phase)
end

local function count_bytes(tenant, by)
  if redis.call('HINCRBY', prefix .. 'logs', tenant, by) == 0 then redis.call('HDEL', prefix .. 'logs', tenant) end
  if redis.call('HINCRBY', prefix .. 'logs', '*', by) == 0 then redis.call('HDEL', prefix .. 'logs', '*') end
end

local function resize(tenant, id, by)
  for _, index in ipairs(indexes('open', tenant)) do redis.call('ZINCRBY', index, by, tenant .. ' ' .. id) end
  count_bytes(tenant, by)
end

local function mark(id, from, part)
  local record = prefix .. 'build:' .. id
  -- A record that has expired must not come back.
  if redis.call('EXISTS', record) == 0 then return end
  local cut = string.format('%s %s %.0f %s %s', from, part.last, part.lines, part.attempt, part.phase)
  redis.call('HSET', record, 'log_cut', cut)
end

local function next_position(position)
  local milliseconds, number = string.match(position, '^(%d+)-(%d+)$')
  return string.format('%s-%.0f', milliseconds, tonumber(number) + 1)
end

-- Drops the oldest part of a log's tail; of a log without one, its beginning. Returns the bytes, 0 if none is left.
local function shorten(tenant, id)
  local record = prefix .. 'build:' .. id
  local head_text, cut_text = unpack(redis.call('HMGET', record, 'log_head', 'log_cut'))
  local head = part_of(head_text)
  local part = part_of(redis.call('LPOP', log_key(id, ':parts')) or '')
  if part then
    redis.call('XTRIM', log_key(id, ':tail'), 'MINID', '=', next_position(part.last))
  elseif head and head.bytes > 0 then
    part = head
    redis.call('UNLINK', log_key(id))
    -- Its last position stays: what is written from now on comes after it.
    redis.call('HSET', record, 'log_tail', 1, 'log_head',
      encode_part({last = head.last, bytes = 0, lines = 0, attempt = head.attempt, phase = head.phase}))
  else
    return 0
  end
  local bytes = part.bytes
  resize(tenant, id, -bytes)
  redis.call('HINCRBY', prefix .. 'logs', '*dropped', bytes)
  local last, lines = string.match(cut_text or '', '^%S+ (%S+) (%d+)')
  if last then
    part.lines = part.lines + tonumber(lines)
    if part == head then part.last = last end  -- the parts after it went before
  end
  mark(id, (part ~= head and head and head.bytes > 0) and head.last or '0-0', part)
  return bytes
end

-- Removes the log of an ended build. Returns its bytes.
local function remove_ended(member)
  local tenant, id, bytes = string.match(member, '^(%S+) (%S+) (%d+)$')
  for _, index in ipairs(indexes('ended', tenant)) do redis.call('ZREM', index, member) end
  redis.call('UNLINK', log_key(id), log_key(id, ':tail'), log_key(id, ':parts'))
  count_bytes(tenant, -tonumber(bytes))
  return tonumber(bytes), id
end

local function drop_ended(member)
  local id = string.match(member, '^%S+ (%S+)')
  local head, lines = unpack(redis.call('HMGET', prefix .. 'build:' .. id, 'log_head', 'log_lines'))
  local last = part_of(redis.call('LINDEX', log_key(id, ':parts'), -1) or head)
  local freed = remove_ended(member)
  redis.call('HINCRBY', prefix .. 'logs', '*dropped', freed)
  if last then
    last.lines = tonumber(lines or 0)
    mark(id, '0-0', last)
  end
  return freed
end

-- Makes a sum no larger than a bound: ended logs go first, the oldest at the beginning, then the largest of the others
-- are shortened. Returns the steps that are left.
local function bound(field, ended, open, most, steps)
  while steps > 0 and tonumber(redis.call('HGET', prefix .. 'logs', field) or 0) > most do
    steps = steps - 1
    local oldest = redis.call('ZRANGE', ended, 0, 0)[1]
    if oldest then
      drop_ended(oldest)
    else
      local largest = redis.call('ZRANGE', open, -1, -1)[1]
      if not largest or shorten(string.match(largest, '^(%S+) (%S+)$')) == 0 then break end
    end
  end
  return steps
end

-- bounds: tenant and farm, in bytes. used, most: Redis's memory. before: what all logs were before this call.
local function keep_within(bounds, tenants, used, most, before)
  -- A small Redis gives a quarter to logs, whatever the setting says, and no tenant more than half of that.
  local farm = most > 0 and math.min(bounds.farm, most / 4) or bounds.farm
  local each = math.min(bounds.tenant, farm / 2)
  local steps = STEPS_MAX
  for _, tenant in ipairs(tenants) do
    local ended, open = indexes('ended', tenant)[2], indexes('open', tenant)[2]
    steps = bound(tenant, ended, open, each, steps)
  end
  -- In a Redis that is nearly full, logs grow no more.
  if is_full(used, most) then farm = math.min(farm, before) end
  bound('*', prefix .. 'logs:ended', prefix .. 'logs:open', farm, STEPS_MAX)
end

-- A build has ended: its log is kept until its time or its room is over.
local function end_log(tenant, id, at)
  local member = tenant .. ' ' .. id
  local bytes = redis.call('ZSCORE', prefix .. 'logs:open', member)
  if not bytes then return end
  for _, index in ipairs(indexes('open', tenant)) do redis.call('ZREM', index, member) end
  for _, index in ipairs(indexes('ended', tenant)) do redis.call('ZADD', index, at, member .. ' ' .. bytes) end
end

-- The log of an ended build is in the registry.
local function remove_log(tenant, id, finished_at)
  local member = tenant .. ' ' .. id
  -- A node of an older version may have ended the build without updating the indexes.
  if redis.call('ZSCORE', prefix .. 'logs:open', member) then end_log(tenant, id, finished_at) end
  local ended = indexes('ended', tenant)[2]
  for _, range in ipairs({{finished_at - 1, finished_at + 1}, {'-inf', '+inf'}}) do
    if redis.call('EXISTS', log_key(id), log_key(id, ':tail')) == 0 then return end
    for _, found in ipairs(redis.call('ZRANGE', ended, range[1], range[2], 'BYSCORE')) do
      if string.sub(found, 1, #member + 1) == member .. ' ' then remove_ended(found) end
    end
  end
end
