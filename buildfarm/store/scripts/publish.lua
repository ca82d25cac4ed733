-- Names the image that the app's tag is to point at, for the holder of the lease only. The tag itself moves after this.
-- KEYS: 1 build:<id>  2 tags (hash: repository -> manifest digest)  3 leases
-- ARGV: 1 id  2 attempt  3 repository  4 digest  5 lease in seconds
-- Returns 'held', 'cancelled' or 'lost', as renew.lua does.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'cancel', 'began')
if record[1] ~= 'running' or record[2] ~= ARGV[2] then return 'lost' end
if record[3] then return 'cancelled' end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[3], t[1] + t[2] / 1000000 + ARGV[5], ARGV[1])
local began = string.format('%s publish=%.6f', record[4] or '', t[1] + t[2] / 1000000)
redis.call('HSET', KEYS[1], 'phase', 'publish', 'began', began)
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return 'held'
