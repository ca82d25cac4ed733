-- Appends to the audit log, unless it grew since the writer looked: each entry holds the hash of the one before.
-- KEYS: 1 audit (stream: entry, hash)  2 audit:head (hash of the newest entry)
-- ARGV: 1 the head that the writer saw, or ''  2 the new head  3 the entry (JSON)  4 seconds that entries are kept
-- Returns 1, or 0 where another entry came first.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
local now = tonumber(redis.call('TIME')[1])
redis.call('XADD', KEYS[1], 'MINID', '~', string.format('%.0f', (now - ARGV[4]) * 1000), '*', 'entry', ARGV[3], 'hash', ARGV[2])
redis.call('SET', KEYS[2], ARGV[2])
return 1
