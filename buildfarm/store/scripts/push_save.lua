-- Writes a hook's state, and removes from its inbox what the state now has.
-- KEYS: 1 hook:<id>:state (string: "version JSON"; expires)  2 hook:<id>:inbox
-- ARGV: 1 the version that was read  2 the new state (JSON)  3 how many changes it has from the inbox  4 seconds
-- Returns 1; 0 if another process has written meanwhile, and then nothing is changed.
local version = string.match(redis.call('GET', KEYS[1]) or '', '^%d+') or '0'
if version ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], string.format('%d %s', version + 1, ARGV[2]), 'EX', ARGV[4])
redis.call('LTRIM', KEYS[2], ARGV[3], -1)
return 1
