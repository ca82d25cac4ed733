-- Marks nodes that gave no sign of life as gone.
-- KEYS: 1 nodes (zset: id -> when it was last seen)  2 draining (set: ids)
-- ARGV: 1 seconds of silence  2 what a node's key begins with  3 seconds until a silent node is forgotten
-- Returns the ids of those that were not marked before. Touches <prefix><id> of each. No order to drain outlives a node
-- that is forgotten.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if not redis.call('ZSCORE', KEYS[1], id) or redis.call('EXISTS', ARGV[2] .. id) == 0 then
    redis.call('SREM', KEYS[2], id)
  end
end
local newly = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])) do
  local state = redis.call('HGET', ARGV[2] .. id, 'state')
  if state and state ~= 'gone' then
    redis.call('HSET', ARGV[2] .. id, 'state', 'gone')
    newly[#newly + 1] = id
  end
end
return newly
