-- Keeps a reporter's newest observation of an app on an image.
-- KEYS: 1 health:<t>/<a> (hash: "<digest> <reporter>" -> "<observed> <until> <turned> <status> <report as JSON>")
--       2 health (zset: apps by when a report of theirs came)
-- ARGV: 1 field  2 observed at  3 status  4 report (JSON)  5 seconds that it counts  6 how many fields stay  7 tenant/app
-- Returns 1, or 0 if a report that was observed later, or at the same time, is there.
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local before, turned, status = redis.call('HGET', KEYS[1], ARGV[1]), '0', ''
if before then
  local observed
  observed, turned, status = string.match(before, '^(%S+) %S+ (%S+) (%S+) ')
  if tonumber(observed) >= tonumber(ARGV[2]) then return 0 end
end
if status == 'healthy' and ARGV[3] == 'unhealthy' then turned = string.format('%.6f', now) end
local until_at = string.format('%.6f', ARGV[2] + ARGV[5])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. until_at .. ' ' .. turned .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) then
  local found, oldest, at = redis.call('HGETALL', KEYS[1]), ARGV[1], math.huge
  for i = 1, #found, 2 do
    local observed = tonumber(string.match(found[i + 1], '^%S+'))
    if observed < at then oldest, at = found[i], observed end
  end
  redis.call('HDEL', KEYS[1], oldest)
end
redis.call('ZADD', KEYS[2], string.format('%.6f', now), ARGV[7])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now - ARGV[5]))
return 1
