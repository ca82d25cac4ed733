-- Ends a running build, for the holder of its lease only.
-- KEYS: 1 build:<id>  2 leases  3 events  4 build:<id>:log
-- ARGV: 1 id  2 attempt  3 state (succeeded, failed, cancelled, superseded)  4 field ('result', 'failure' or '')
--       5 its JSON  6 how many events are kept  7 seconds until the record expires
-- Returns 1, or 0 where another attempt owns the build.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt')
if record[1] ~= 'running' or record[2] ~= ARGV[2] then return 0 end
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'finished_at', string.format('%.6f', t[1] + t[2] / 1000000))
redis.call('HDEL', KEYS[1], 'cancel')
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], ARGV[4], ARGV[5]) end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[7])
redis.call('EXPIRE', KEYS[4], ARGV[7])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'build', ARGV[1], 'state', ARGV[3], 'attempt', ARGV[2])
return 1
