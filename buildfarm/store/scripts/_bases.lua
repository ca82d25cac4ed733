-- Which base an app's builds stand on; put before each script that says "with _bases".
--
-- promoted      string: repository@digest of the channel stable; none until something was promoted
-- channels      hash: name -> repository@digest of every other channel
-- app-channels  hash: "tenant/app" -> its channel, of apps that follow another one than stable
-- app-bases     hash: "tenant/app" -> repository@digest that goes before its channel's, while a rollout moves the app
local STABLE = 'stable'

local function base_of_channel(prefix, channel)
  if channel == STABLE then return redis.call('GET', prefix .. 'promoted') or '' end
  return redis.call('HGET', prefix .. 'channels', channel) or ''
end

-- The channel, its base, and the base that goes before it, or ''. A channel that a restored Redis lacks is stable.
local function bases_of_app(prefix, place)
  local channel = redis.call('HGET', prefix .. 'app-channels', place) or STABLE
  local base = base_of_channel(prefix, channel)
  if base == '' then
    channel = STABLE
    base = base_of_channel(prefix, STABLE)
  end
  return channel, base, redis.call('HGET', prefix .. 'app-bases', place) or ''
end
