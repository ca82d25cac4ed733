-- Records a node's heartbeat and returns what the farm asks of it. Only what has changed is written: Redis writes it to
-- its disk too, for every node once a second.
-- KEYS: 1 node:<id> (hash)  2 nodes (zset: id -> when it was last seen)  3 draining (set: ids)  4 promoted (string)
--       5 channels (hash)  6 app-bases (hash); both as in _bases.lua
--       7... class:<c> (hash), of a node that serves several sizes: those of its kinds
-- ARGV: 1 id  2 seconds until a silent node is forgotten  3... names and values of its fields
-- Returns 1 where it is to drain, else 0; the promoted builder, or ''; the other channels with their bases; and how many
-- apps a rollout has put on another base than their channel's; and how many builds of each of those kinds are queued.
local EXPIRY_SLACK_SECONDS = 600

local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local names, changed = {}, {'seen_at', string.format('%.6f', now)}
for i = 3, #ARGV, 2 do names[#names + 1] = ARGV[i] end
for i, known in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
  local value = ARGV[2 * i + 2]
  if known ~= value then
    changed[#changed + 1] = names[i]
    changed[#changed + 1] = value
  end
end
redis.call('HSET', KEYS[1], unpack(changed))
if redis.call('TTL', KEYS[1]) < ARGV[2] - EXPIRY_SLACK_SECONDS then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
redis.call('ZADD', KEYS[2], now, ARGV[1])
local queued = {}
for i = 7, #KEYS do queued[#queued + 1] = tonumber(redis.call('HGET', KEYS[i], 'queued') or 0) end
return {redis.call('SISMEMBER', KEYS[3], ARGV[1]), redis.call('GET', KEYS[4]) or '', redis.call('HGETALL', KEYS[5]),
  redis.call('HLEN', KEYS[6]), queued}
