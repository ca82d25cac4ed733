-- Fails builds that waited for longer than their requests allowed.
-- with _admission
-- ARGV: 2 failure (JSON)  3 how many at most
-- Answers their ids.
local ids = redis.call('ZRANGEBYSCORE', key('expiring'), '-inf', now, 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  local build = load(id)
  if build and WAITING[build.state] then
    redis.call('HSET', key('build:' .. id), 'failure', ARGV[2])
    enter(build, 'failed')
    tell(build)
    admit(build.tenant)
  end
  redis.call('ZREM', key('expiring'), id)
end
return ids
