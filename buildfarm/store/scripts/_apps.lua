-- What is known of apps and images beside their builds; put before each script that says "with _apps".
--
-- apps, apps:<t>   zset: "tenant/app" by when its newest build was submitted; of all tenants, and of one
-- trend:<t>/<a>    list: the newest ended builds of an app, the last one first, each "id state seconds bytes"; before them
--                  the newest of all where nothing was built, without seconds (-); expires
-- images:<number>  hash: "digits tenant" -> "id day" of the tenant's newest build of an image, by 13 hex digits of its
--                  digest, in 4,096 hashes by the 3 before them; expires
-- app-sizes        hash: "tenant/app" -> the size that was chosen for its builds; buildfarm/store/keeping/sizes.py
-- The farm's own images are not apps.
local TREND = 20
local DAY = 86400
local PRUNE_EVERY = 64 -- images in a hash: each of them is looked at, so not at each end
local OWN = 'images'

local function note_app(prefix, tenant, app, submitted)
  if tenant == OWN then return end
  redis.call('ZADD', prefix .. 'apps', 'GT', submitted, tenant .. '/' .. app)
  redis.call('ZADD', prefix .. 'apps:' .. tenant, 'GT', submitted, tenant .. '/' .. app)
end

local function forget_app(prefix, place)
  redis.call('ZREM', prefix .. 'apps', place)
  redis.call('ZREM', prefix .. 'apps:' .. string.match(place, '^[^/]+'), place)
  redis.call('UNLINK', prefix .. 'trend:' .. place)
  redis.call('HDEL', prefix .. 'app-sizes', place)
end

-- Apps whose newest build was submitted before a time have none left. A few at a time: each submit looks.
local function forget_idle_apps(prefix, before)
  for _, place in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'apps', '-inf', before, 'LIMIT', 0, 10)) do
    forget_app(prefix, place)
  end
end

local function prune_images(images, before)
  local known = redis.call('HGETALL', images)
  for i = 1, #known, 2 do
    local noted = tonumber(string.match(known[i + 1], '%d+$') or before)
    if noted < before then redis.call('HDEL', images, known[i]) end
  end
end

local function note_image(prefix, digest, build, now, seconds)
  local first, rest = string.match(digest, '^sha256:(%x%x%x)(%x%x%x%x%x%x%x%x%x%x%x%x%x)')
  if not first then return end
  local images, day = prefix .. 'images:' .. tonumber(first, 16), math.floor(now / DAY)
  redis.call('HSET', images, rest .. ' ' .. build.tenant, build.id .. ' ' .. day)
  redis.call('EXPIRE', images, math.ceil(seconds))
  if redis.call('HLEN', images) % PRUNE_EVERY == 0 then prune_images(images, day - seconds / DAY) end
end

-- Of endings without a build, which took no time, only the newest of all is kept: it is what the app's state is.
local function note_trend(trend, took, text)
  if string.match(redis.call('LINDEX', trend, 0) or '', '^%S+ %S+ %- ') then redis.call('LPOP', trend) end
  redis.call('LPUSH', trend, text)
  redis.call('LTRIM', trend, 0, took == '-' and TREND or TREND - 1)
end

-- A build of an app has ended: where it was built and not taken from another one, with its seconds and its image.
local function note_end(prefix, build, now, seconds)
  if build.tenant == OWN then return end
  local started, text, taken_from =
    unpack(redis.call('HMGET', prefix .. 'build:' .. build.id, 'started_at', 'result', 'memo_of'))
  local result, bytes = text and cjson.decode(text), 0
  for _, layer in ipairs(result and result.layers or {}) do bytes = bytes + layer.size_bytes end
  local took = started and not taken_from and string.format('%.2f', now - started) or '-'
  local trend = prefix .. 'trend:' .. build.tenant .. '/' .. build.app
  note_trend(trend, took, string.format('%s %s %s %.0f', build.id, build.state, took, bytes))
  redis.call('EXPIRE', trend, math.ceil(seconds))
  if result and not taken_from then note_image(prefix, result.digest, build, now, seconds) end
end
