-- Writes a hook's state, and removes from its inbox what the state now has.
-- KEYS: 1 hook:<id>:state (string: "version JSON")  2 hook:<id>:inbox  3 hooks
-- ARGV: 1 the version that was read  2 the new state (JSON)  3 how many changes it has from the inbox  4 the hook
-- Returns 1; 0 if another process has written meanwhile or the hook is gone, and then nothing is changed.
local version = string.match(redis.call('GET', KEYS[1]) or '', '^%d+') or '0'
if version ~= ARGV[1] or redis.call('HEXISTS', KEYS[3], ARGV[4]) == 0 then return 0 end
redis.call('SET', KEYS[1], string.format('%d %s', version + 1, ARGV[2]))
redis.call('LTRIM', KEYS[2], ARGV[3], -1)
return 1
