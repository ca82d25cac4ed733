-- Names another image as an app's newest, if the newest is still the one that it was made of: a build that has published
-- meanwhile keeps its place. The tag itself moves after this; a node makes sure of it.
-- KEYS: 1 tags (hash: target -> manifest digest)  2 unsettled (zset)  3 rebases:<t>/<a> (list: JSON, the newest first)
-- ARGV: 1 target  2 digest before  3 digest  4 entry (JSON)  5 how many entries stay  6 seconds that they stay
-- Returns the digest that the tag is to point to: the new one, or that of the build; '' if nothing was published.
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found ~= ARGV[2] then return found or '' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('LPUSH', KEYS[3], ARGV[4])
redis.call('LTRIM', KEYS[3], 0, ARGV[5] - 1)
redis.call('EXPIRE', KEYS[3], ARGV[6])
redis.call('ZADD', KEYS[2], redis.call('TIME')[1] + 5, ARGV[1])
return ARGV[3]
