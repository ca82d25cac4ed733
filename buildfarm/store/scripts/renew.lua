-- Renews a lease, and enters a phase where one is named.
-- KEYS: 1 build:<id> (began: "phase=time phase=time ..." of this attempt)  2 leases
-- ARGV: 1 id  2 attempt  3 lease in seconds  4 phase, or ''
-- Returns 'held', 'cancelled' (its owner asks the build to end) or 'lost'.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'cancel', 'phase', 'began')
if record[1] ~= 'running' or record[2] ~= ARGV[2] then return 'lost' end
if record[3] then return 'cancelled' end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], t[1] + t[2] / 1000000 + ARGV[3], ARGV[1])
if ARGV[4] ~= '' and ARGV[4] ~= record[4] then
  local began = string.format('%s %s=%.6f', record[5] or '', ARGV[4], t[1] + t[2] / 1000000)
  redis.call('HSET', KEYS[1], 'phase', ARGV[4], 'began', began)
end
return 'held'
