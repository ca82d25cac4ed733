-- Records a node's heartbeat and returns what the farm asks of it.
-- KEYS: 1 node:<id> (hash)  2 nodes (zset: id -> when it was last seen)  3 draining (set: ids)  4 promoted (string)
-- ARGV: 1 id  2 seconds until a silent node is forgotten  3... names and values of its fields
-- Returns 1 where it is to drain, else 0; and the promoted builder, or ''.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
redis.call('HSET', KEYS[1], 'seen_at', string.format('%.6f', now), unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
return {redis.call('SISMEMBER', KEYS[3], ARGV[1]), redis.call('GET', KEYS[4]) or ''}
