-- Cancels a build: at once if it waits; if it runs, as soon as its node learns of it.
-- with _admission
-- ARGV: 2 id
-- One that was handed over and that no signer has claimed for a minute ends at once too: signers renew what they do.
-- signing (zset: as in _signing.lua)
-- Answers the state it was found in, '' if there is no such build, or 'publishing': too late, it will succeed.
local build = load(ARGV[2])
if not build then return '' end
local UNCLAIMED_SECONDS = 60
local found = build.state

local function is_left_alone()
  local due = tonumber(redis.call('ZSCORE', key('signing'), build.id) or nil)
  return due and due < now - UNCLAIMED_SECONDS and redis.call('HEXISTS', key('build:' .. build.id), 'handed') == 1
end

if build.publishes and is_left_alone() and redis.call('HEXISTS', key('build:' .. build.id), 'named') == 0 then
  redis.call('HDEL', key('build:' .. build.id), 'published')
  redis.call('ZREM', key('signing'), build.id)
  enter(build, 'cancelled')
  tell(build, 'attempt', build.attempt)
  admit(build.tenant)
  return found
end
if build.publishes then return 'publishing' end
if found == 'running' then
  call_off(build)
elseif WAITING[found] then
  enter(build, 'cancelled')
  tell(build)
  admit(build.tenant)
end
return found
