-- Makes a node the one that does a duty for all, if no other is.
-- KEYS: 1 the duty, as sweeper (string: id of the node that does it; expires)
-- ARGV: 1 id  2 milliseconds
-- Returns 0 where this node does it, else for how many milliseconds more the other's hold lasts.
local holder = redis.call('GET', KEYS[1])
-- A hold that lasts longer than any was given for is left from before the clock was set back.
local left = redis.call('PTTL', KEYS[1])
if holder and holder ~= ARGV[1] and left <= tonumber(ARGV[2]) then return math.max(left, 1) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0
