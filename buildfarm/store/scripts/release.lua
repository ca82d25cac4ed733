-- Takes a running build back from an attempt that cannot finish it: queued again, or failed where its attempts are used up.
-- KEYS: 1 build:<id>  2 leases  3 queued  4 events  5 build:<id>:log
-- ARGV: 1 id  2 attempt, or '' for whichever attempt's lease has ended  3 attempts at most  4 failure (JSON)
--       5 how many events are kept  6 seconds until a failed record expires
-- Returns 'queued', 'failed', 'cancelled' (its owner had asked for it), or 'stale' where there is nothing to take back.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'cancel')
if record[1] ~= 'running' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 'stale'
end
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
if ARGV[2] ~= '' and record[2] ~= ARGV[2] then return 'stale' end
if ARGV[2] == '' then
  local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if ends and tonumber(ends) > now then return 'stale' end
end
redis.call('ZREM', KEYS[2], ARGV[1])
local state = 'queued'
if record[3] then state = 'cancelled' elseif tonumber(record[2]) >= tonumber(ARGV[3]) then state = 'failed' end
redis.call('HSET', KEYS[1], 'state', state)
redis.call('HDEL', KEYS[1], 'cancel', 'phase')
if state == 'queued' then
  redis.call('ZADD', KEYS[3], now, ARGV[1])
else
  redis.call('HSET', KEYS[1], 'finished_at', string.format('%.6f', now))
  if state == 'failed' then redis.call('HSET', KEYS[1], 'failure', ARGV[4]) end
  redis.call('EXPIRE', KEYS[1], ARGV[6])
  redis.call('EXPIRE', KEYS[5], ARGV[6])
end
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '*', 'build', ARGV[1], 'state', state, 'attempt', record[2])
return state
