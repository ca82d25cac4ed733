-- Decides that a build succeeds, for the holder of the lease only: names the image that the app's tag is to point to.
-- The tag itself moves after this. From here on the build cannot be cancelled or superseded, and whichever node ends it, the
-- holder or a sweeper, ends it with this result.
-- with _fence
-- KEYS: 1 build:<id> (published: the result until the build ends)  2 tags (hash: target -> manifest digest)  3 leases
-- ARGV: 1 id  2 fence: the attempt and its token  3 target  4 digest  5 lease in seconds  6 result (JSON)
-- Returns 'held', 'cancelled' or 'lost', as renew.lua does.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'cancel', 'began', 'holder', 'published')
if record[1] ~= 'running' or fence_of(record[2], record[5]) ~= ARGV[2] then return 'lost' end
if record[6] then return 'held' end  -- sent twice
if record[3] then return 'cancelled' end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[3], t[1] + t[2] / 1000000 + ARGV[5], ARGV[1])
local began = string.format('%s publish=%.6f', record[4] or '', t[1] + t[2] / 1000000)
redis.call('HSET', KEYS[1], 'phase', 'publish', 'began', began, 'published', ARGV[6],
  'target', ARGV[3])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return 'held'
