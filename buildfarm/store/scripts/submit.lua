-- Writes a new build's record as queued. A build id that exists already is left as it is.
-- KEYS: 1 build:<id>  2 queued (zset: id -> when its last message was sent)  3 builds (zset: id -> time)
--       4 app:<tenant>/<app> (zset: id -> time)  5 events (stream)
-- ARGV: 1 id  2 request (JSON)  3 queue  4 how many builds an index keeps  5 how many events are kept
-- Returns 1, or 0 where the build existed.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'request', ARGV[2], 'queue', ARGV[3], 'state', 'queued', 'attempt', 0,
  'submitted_at', string.format('%.6f', now))
redis.call('ZADD', KEYS[2], now, ARGV[1])
for _, index in ipairs({KEYS[3], KEYS[4]}) do
  redis.call('ZADD', index, now, ARGV[1])
  redis.call('ZREMRANGEBYRANK', index, 0, -1 - ARGV[4])
end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[5], '*', 'build', ARGV[1], 'state', 'queued')
return 1
