-- Renews a lease, and enters a phase if one is named. Only publish.lua enters the phase publish, and none follows it.
-- with _fence
-- KEYS: 1 build:<id> (began: "phase=time phase=time ..." of this attempt)  2 leases
-- ARGV: 1 id  2 fence: the attempt and its token  3 lease in seconds  4 phase, or ''
-- Returns 'held', 'cancelled' (its owner asks the build to end; too late once it publishes) or 'lost'.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'cancel', 'phase', 'began', 'holder')
if record[1] ~= 'running' or fence_of(record[2], record[6]) ~= ARGV[2] then return 'lost' end
local publishes = record[4] == 'publish'
if record[3] and not publishes then return 'cancelled' end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], t[1] + t[2] / 1000000 + ARGV[3], ARGV[1])
if not publishes and ARGV[4] ~= '' and ARGV[4] ~= 'publish' and ARGV[4] ~= record[4] then
  local began = string.format('%s %s=%.6f', record[5] or '', ARGV[4], t[1] + t[2] / 1000000)
  redis.call('HSET', KEYS[1], 'phase', ARGV[4], 'began', began)
end
return 'held'
