-- Picks queued builds whose message is old, and marks them as sent again, so that one sweeper only sends each.
-- KEYS: 1 queued
-- ARGV: 1 seconds since the last message  2 how many at most
-- Returns their ids.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], now, id) end
return ids
