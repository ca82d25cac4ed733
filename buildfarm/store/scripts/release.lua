-- Takes a running build back from an attempt that cannot finish it: queued again, or failed where its attempts are used up.
-- One whose result was published has succeeded: all that is left to do is to move its tag.
-- with _admission
-- with _doubt
-- ARGV: 2 id  3 fence: the attempt and its token; or '' for whichever attempt's lease has ended  4 attempts at most
--       5 failure (JSON)
--       6 how many attempts may go uncounted; 0: this one counts  7 seconds until it may be tried again
--       8 seconds that may pass between two sweeps  9 lease in seconds; both for 3 = ''
--       10 '1': the signer refused the image (as in hand_over.lua); what was published is not this build's result
-- Answers 'queued', 'failed', 'succeeded', 'cancelled' (its owner had asked for it), 'superseded' (a newer build waits), or
-- 'stale' if there is nothing to take back, or it is in doubt whether there is.
local build = load(ARGV[2])
if build and build.state ~= 'running' and build.fence == ARGV[3] and string.find(ARGV[3], ' ', 1, true) then
  return build.state  -- sent twice
end
if not build or build.state ~= 'running' then
  redis.call('ZREM', key('leases'), ARGV[2])
  return 'stale'
end
if ARGV[3] ~= '' and build.fence ~= ARGV[3] then return 'stale' end
if ARGV[3] == '' then
  local ends = redis.call('ZSCORE', key('leases'), build.id)
  if ends and tonumber(ends) > now then return 'stale' end
  -- Handed over to the signer since the caller looked: nobody's lease has ended.
  local handed = redis.call('HGET', key('build:' .. build.id), 'handed') or ''
  if not ends and string.match(handed, '^%d+') == build.attempt then return 'stale' end
  if doubt_of(key('swept'), now, tonumber(ARGV[8]), tonumber(ARGV[9])) ~= 'clear' then return 'stale' end
end
local record, state = key('build:' .. build.id), 'queued'
if ARGV[10] == '1' then
  redis.call('HDEL', record, 'published', 'target')
  redis.call('ZREM', key('signing'), build.id)
end
local published = redis.call('HGET', record, 'published')
local spared = tonumber(redis.call('HGET', record, 'spared') or 0)
if spared < tonumber(ARGV[6]) then spared = redis.call('HINCRBY', record, 'spared', 1) end
local open = build.target and not published and open_of_target(build) or {}
local newest = #open > 0 and load(open[#open])
if newest and newest.id ~= build.id and WAITING[newest.state] then
  build.superseded_by = newest.id
  redis.call('HSET', record, 'superseded_by', newest.id)
end
if published then
  state = 'succeeded'
  redis.call('HSET', record, 'result', published)
  redis.call('HDEL', record, 'superseded_by')
  unsettle(redis.call('HGET', record, 'target'), 0)
elseif build.superseded_by then
  state = 'superseded'
elseif build.cancel then
  state = 'cancelled'
elseif tonumber(build.attempt) - spared >= tonumber(ARGV[4]) then
  state = 'failed'
  redis.call('HSET', record, 'failure', ARGV[5])
end
redis.call('HDEL', record, 'phase')
enter(build, state)
if state == 'superseded' then
  tell(build, 'attempt', build.attempt, 'superseded_by', build.superseded_by)
else
  tell(build, 'attempt', build.attempt)
end
if state ~= 'queued' then
  admit(build.tenant)
elseif tonumber(ARGV[7]) > 0 then
  redis.call('ZADD', key('queued'), now + ARGV[7], build.id)
  redis.call('ZADD', key('retries'), now + ARGV[7], build.id)
else
  wake(build.id, 'build.' .. build.class .. '.retry')
end
return state
