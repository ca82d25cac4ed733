-- Makes a node the one that sweeps, if no other is.
-- KEYS: 1 sweeper (string: id of the node that sweeps; expires)
-- ARGV: 1 id  2 milliseconds
-- Returns 1 where this node sweeps, else 0.
local holder = redis.call('GET', KEYS[1])
-- A hold that lasts longer than any was given for is left from before the clock was set back.
local valid = redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2])
if holder and holder ~= ARGV[1] and valid then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
