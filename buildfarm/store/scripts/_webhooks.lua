-- Deliveries of webhooks; put before each script that says "with _webhooks".
-- KEYS: 1 the namespace. A tenant has one delivery handed out at a time, so that a slow receiver blocks one sender.
--
-- webhooks:due:<t>      zset: builds of a tenant by when their next try is due; the newest so many
-- webhooks:tenants      zset: tenants by when their first try is due; of a tenant in `webhooks:out`, when that delivery is
--                       taken for lost
-- webhooks:out          hash: tenant -> "queued <build>" from the message on, "sending <build>" from the try on
-- webhooks:tries:<id>   string: tries of a delivery so far; expires
-- webhooks              list: Celery's queue of messages
local namespace = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000

local function key(name) return namespace .. name end

-- The tenant's turn comes when its first delivery is due.
local function take_turn(tenant)
  local first = redis.call('ZRANGE', key('webhooks:due:' .. tenant), 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', key('webhooks:tenants'), first[2], tenant)
  else
    redis.call('ZREM', key('webhooks:tenants'), tenant)
  end
end

local function plan(tenant, build, at)
  redis.call('ZADD', key('webhooks:due:' .. tenant), at, build)
  if redis.call('HEXISTS', key('webhooks:out'), tenant) == 0 then take_turn(tenant) end
end
