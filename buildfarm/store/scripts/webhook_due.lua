-- Hands out deliveries that are due, at most one of each tenant. One whose message or sender was lost comes again.
-- with _webhooks
-- ARGV: 1 seconds after which one is taken for lost  2 how many messages the queue may have
-- Returns "tenant/build" of each.

-- Processes of an older version keep all deliveries in one set; during an upgrade they run beside this one.
for _, build in ipairs(redis.call('ZRANGE', key('webhooks:due'), 0, 99)) do
  local tenant = string.match(redis.call('HGET', key('build:' .. build), 'place') or '', '^%S+')
  if tenant then plan(tenant, build, redis.call('ZSCORE', key('webhooks:due'), build)) end
  redis.call('ZREM', key('webhooks:due'), build)
end

local found = {}
local room = ARGV[2] - redis.call('LLEN', key('webhooks'))
if room <= 0 then return found end
for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', key('webhooks:tenants'), '-inf', now, 'LIMIT', 0, room)) do
  local due = key('webhooks:due:' .. tenant)
  local build = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, 1)[1]
  if build then
    -- The build goes behind the tenant's others: one that ends its sender each time must not hold them up.
    redis.call('ZADD', due, now + ARGV[1], build)
    redis.call('ZADD', key('webhooks:tenants'), now + ARGV[1], tenant)
    redis.call('HSET', key('webhooks:out'), tenant, 'queued ' .. build)
    found[#found + 1] = tenant .. '/' .. build
  else
    redis.call('HDEL', key('webhooks:out'), tenant)
    take_turn(tenant)
  end
end
return found
