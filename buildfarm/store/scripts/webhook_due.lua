-- Picks deliveries that are due, and puts each off, so that one process only sends its message and a lost one comes again.
-- KEYS: 1 webhooks:due (zset: build id -> when its next try is due)
-- ARGV: 1 seconds to put off  2 how many at most
-- Returns their build ids.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], now + ARGV[1], id) end
return ids
