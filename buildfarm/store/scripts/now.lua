-- Keeps the line that a build is writing, as it is now, for those who follow; '' where it writes none.
-- with _fence
-- KEYS: 1 build:<id> (log_now)
-- ARGV: 1 fence: the attempt and its token  2 text
-- Returns 1, or 0 where another attempt owns the build.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'holder')
if record[1] ~= 'running' or fence_of(record[2], record[3]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], 'log_now') else redis.call('HSET', KEYS[1], 'log_now', ARGV[2]) end
return 1
