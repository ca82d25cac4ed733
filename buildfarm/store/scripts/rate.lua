-- Takes one from a bucket that fills evenly (a token bucket; the store's clock).
-- KEYS: 1 rate:<what>:<whose> (hash: level, at; expires when it would be full)
-- ARGV: 1 how many it holds  2 seconds in which it fills
-- Returns 0, or milliseconds to wait where it is empty.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local size, seconds = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'level', 'at')
-- Redis's clock may have gone back: nothing flows in then, and nothing out.
local passed = math.max(0, now - (tonumber(bucket[2]) or now))
local level = math.min(size, (tonumber(bucket[1]) or size) + passed * size / seconds)
local wait = 0
if level >= 1 then level = level - 1 else wait = math.ceil((1 - level) * seconds / size * 1000) end
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], math.ceil(seconds))
return wait
