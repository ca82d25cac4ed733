-- Keeps a new token, unless its name has as many live ones as it may have.
-- KEYS: 1 token:<id> (hash, expires with the token)  2 tokens (zset: id -> when it expires)
-- ARGV: 1 id  2 tenant, or ''  3 name  4 seconds to live  5 how many of one name may live  6 prefix of token keys
--       7... field, value, field, value
-- Returns 1, or 0 if there are too many.
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local alike = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local other = redis.call('HMGET', ARGV[6] .. id, 'tenant', 'name')
  if other[1] == ARGV[2] and other[2] == ARGV[3] then alike = alike + 1 end
end
if alike >= tonumber(ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], 'tenant', ARGV[2], 'name', ARGV[3], 'created_at', now, 'expires_at', now + ARGV[4],
  unpack(ARGV, 7))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
return 1
