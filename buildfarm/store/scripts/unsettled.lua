-- Picks targets whose tag may not be where it should, and puts each off, so that only one node looks at it.
-- KEYS: 1 unsettled (zset: target -> when to look at its tag)
-- ARGV: 1 seconds to put off  2 how many at most
-- Returns pairs of a target and its new score, which settle.lua is given back.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local later, found = string.format('%.6f', now + ARGV[1]), {}
for _, target in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
  redis.call('ZADD', KEYS[1], later, target)
  found[#found + 1] = target
  found[#found + 1] = later
end
return found
