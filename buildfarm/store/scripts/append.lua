-- Appends lines to a build's log, for the holder of its lease only. A log over its limit says so once and stops.
-- with _logs
-- with _fence
-- KEYS: 1 build:<id> (log_batch: number of the newest batch of this attempt)  2 build:<id>:log  3 the namespace
-- ARGV: 1 fence: the attempt and its token  2 phase  3 limit in bytes
--       4 number of this batch: one that was sent twice is taken once
--       5 bounds in bytes (JSON): head and tail of a log; tenant, farm: all logs  6... lines
-- Returns the position of the first line, whose others follow one by one; 1 where none was added, 0 where another attempt
-- owns the build.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'log_bytes', 'holder', 'log_batch')
if record[1] ~= 'running' or fence_of(record[2], record[4]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[4]) <= tonumber(record[5] or '0') then return 1 end
local limit = tonumber(ARGV[3])
local bytes = tonumber(record[3] or '0')

local attempt, phase, bounds = record[2], ARGV[2], cjson.decode(ARGV[5])
local part_bytes = bounds.tail / 64  -- the tail is shortened by parts of about this size
local place, head_text, tail = unpack(redis.call('HMGET', KEYS[1], 'place', 'log_head', 'log_tail'))
local tenant, id = string.match(place, '^%S+'), string.match(KEYS[2], '([^:]+):log$')
local used, most = memory()
local before = tonumber(redis.call('HGET', prefix .. 'logs', '*') or 0)
local tail_key, parts_key = log_key(id, ':tail'), log_key(id, ':parts')
local head = part_of(head_text) or {last = '0-0', bytes = 0, lines = 0}
local part = tail and part_of(redis.call('LINDEX', parts_key, -1) or '')
local is_new = not (part and part.bytes < part_bytes)

local function new_part() return {bytes = 0, lines = 0} end

local function save_part()
  if part.lines == 0 then return end
  if is_new then redis.call('RPUSH', parts_key, encode_part(part)) else redis.call('LSET', parts_key, -1, encode_part(part)) end
end

local first, last
local function add(stream, position, to, text)
  last = redis.call('XADD', stream, last and next_position(last) or position, 'a', attempt, 'p', phase, 't', text)
  first, to.last = first or last, last
  to.bytes, to.lines = to.bytes + #text + LINE_COST, to.lines + 1
  to.attempt, to.phase = attempt, phase
end

if is_new then part = new_part() end
local written, lines = 0, 0
for i = 6, #ARGV do
  if bytes > limit then break end
  bytes = bytes + #ARGV[i] + 1
  local text = ARGV[i]
  if bytes > limit then text = 'The log is over its limit of ' .. ARGV[3] .. ' bytes; the rest is dropped.' end
  local cost = #text + LINE_COST
  -- Positions grow through both streams.
  local position = '*'
  if not tail and head.bytes + cost > bounds.head then
    tail, position = true, head.lines > 0 and next_position(head.last) or '*'
  end
  if not tail then
    add(KEYS[2], position, head, text)
  else
    if part.bytes >= part_bytes then
      save_part()
      part, is_new = new_part(), true
    end
    add(tail_key, position, part, text)
  end
  written, lines = written + cost, lines + 1
end
redis.call('HSET', KEYS[1], 'log_batch', ARGV[4])
if lines == 0 then return 1 end
save_part()
redis.call('HSET', KEYS[1], 'log_bytes', bytes)
redis.call('HINCRBY', KEYS[1], 'log_lines', lines)
if tail then redis.call('HSET', KEYS[1], 'log_tail', 1) end
if head.lines > 0 then redis.call('HSET', KEYS[1], 'log_head', encode_part(head)) end

local known = redis.call('ZSCORE', prefix .. 'logs:open', tenant .. ' ' .. id)
resize(tenant, id, written + (known and 0 or LOG_COST))
local kept = tonumber(known or LOG_COST) + written
while kept - head.bytes - LOG_COST > bounds.tail do
  local freed = shorten(tenant, id)
  if freed == 0 then break end
  kept = kept - freed
end
keep_within(bounds, {tenant}, used, most, before)
return first
