-- Removes a target whose tag is correct, unless it was marked again since the look at it began.
-- KEYS: 1 unsettled (zset: target -> when to look at its tag)
-- ARGV: 1 target  2 its score, from unsettled.lua
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '') == tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return ''
