-- Says that a build of this repository sends its image, so that a signer can prepare. Only speed depends on it.
-- KEYS: 1 signing:soon (list, the newest first: "<seconds since the epoch> <repository>")
-- ARGV: 1 repository
local MAX, KEPT_SECONDS, NAME_BYTES_MAX = 50, 10, 255
if #ARGV[1] <= NAME_BYTES_MAX then
  redis.call('LPUSH', KEYS[1], redis.call('TIME')[1] .. ' ' .. ARGV[1])
  redis.call('LTRIM', KEYS[1], 0, MAX - 1)
  redis.call('EXPIRE', KEYS[1], KEPT_SECONDS)
end
return ''
