-- Notes that a sweeper looks at the leases now, and decides whether it may take back those that have ended.
-- with _doubt
-- KEYS: 1 swept  2 leases (zset: id -> when its lease ends)  3 queued (zset)  4 retries (zset)
-- ARGV: 1 seconds that may pass between two sweeps  2 lease in seconds  3 longest wait for another attempt, in seconds
-- Returns "clear", "begins" or "doubt", as _doubt.lua says.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000

local function pull_back(set, latest)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, string.format('(%.6f', latest), '+inf')) do
    redis.call('ZADD', set, string.format('%.6f', latest), id)
  end
end

local answer, at = doubt_of(KEYS[1], now, tonumber(ARGV[1]), tonumber(ARGV[2]))
if at and now < at then
  -- The clock was set back: the lease of a dead holder would otherwise end as much later.
  pull_back(KEYS[2], now + ARGV[2])
  pull_back(KEYS[3], now + ARGV[3])
  pull_back(KEYS[4], now + ARGV[3])
end
redis.call('HSET', KEYS[1], 'at', string.format('%.6f', now), 'run_id', redis_run_id())
return answer
