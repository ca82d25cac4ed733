-- The rest of an attempt's log will come to the registry once it has ended, for the holder of its lease only.
-- with _fence
-- KEYS: 1 build:<id> (log_waits: "attempt node": who has it until then)
-- ARGV: 1 fence: the attempt and its token  2 node
-- Returns 1, or 0 where another attempt owns the build.
local state, attempt, holder = unpack(redis.call('HMGET', KEYS[1], 'state', 'attempt', 'holder'))
if state ~= 'running' or fence_of(attempt, holder) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'log_waits', attempt .. ' ' .. ARGV[2])
return 1
