-- Entries of the audit log leave Redis: a part in the registry has them. The last of them stays as well, so that readers of
-- an older version find an end that matches audit:head.
-- KEYS: 1 audit (stream)  2 audit:parts (zset: parts in their order)
-- ARGV: 1 part  2 the part before it, or ''  3 position of its last entry
-- Returns 1, or 0 where another node was faster.
local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if (newest[1] or '') ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], (newest[2] or 0) + 1, ARGV[1])
redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[3])
return 1
