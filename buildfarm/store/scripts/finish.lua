-- Ends a running build, for the holder of its lease only.
-- with _admission
-- ARGV: 2 id  3 attempt  4 state (succeeded, failed, cancelled)  5 field ('result', 'failure' or '')  6 its JSON
--       7 digest of the whole input, or '' where an equal request is to be built again
-- memo:<digest> (string: id of the build that succeeded; expires with its record)
-- Answers the state, which of a cancelled build is 'superseded' where a newer one asked for it; '' where another attempt
-- owns the build.
local build = load(ARGV[2])
if not build or build.state ~= 'running' or build.attempt ~= ARGV[3] then return '' end
local record, state = key('build:' .. build.id), ARGV[4]
if state == 'cancelled' and build.superseded_by then state = 'superseded' end
if state ~= 'superseded' then redis.call('HDEL', record, 'superseded_by') end
if ARGV[5] ~= '' then redis.call('HSET', record, ARGV[5], ARGV[6]) end
enter(build, state)
if state == 'superseded' then
  tell(build, 'attempt', ARGV[3], 'superseded_by', build.superseded_by)
else
  tell(build, 'attempt', ARGV[3])
end
if ARGV[7] ~= '' then redis.call('SET', key('memo:' .. ARGV[7]), build.id, 'EX', terms.record_seconds) end
admit(build.tenant)
return state
