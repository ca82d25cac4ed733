-- Takes a queued build for a node: running, with the next attempt number and a lease.
-- KEYS: 1 build:<id>  2 queued  3 leases (zset: id -> when the lease ends)  4 events
-- ARGV: 1 id  2 node  3 lease in seconds  4 how many events are kept
-- Returns the attempt number, or 0 where there is nothing to claim: the message is dropped.
if redis.call('HGET', KEYS[1], 'state') ~= 'queued' then return 0 end
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
redis.call('HSET', KEYS[1], 'state', 'running', 'node', ARGV[2], 'phase', 'prepare')
redis.call('HSETNX', KEYS[1], 'started_at', string.format('%.6f', now))
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[1])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[4], '*', 'build', ARGV[1], 'state', 'running', 'attempt', attempt, 'node', ARGV[2])
return attempt
