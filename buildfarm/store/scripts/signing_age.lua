-- How many requests to the signer there are, and since when the oldest of the first hundred waits.
-- KEYS: 1 signing (zset)  2 what a build's key begins with
-- Answers {count, seconds}. A target that waits counts as new: its request has no time.
local OLDEST = 100
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local since = now
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, OLDEST - 1)) do
  if not string.find(name, '/', 1, true) then
    since = math.min(since, tonumber(redis.call('HGET', KEYS[2] .. name, 'published_at') or now))
  end
end
return {redis.call('ZCARD', KEYS[1]), string.format('%.6f', now - since)}
