-- Ends a running build, for the holder of its lease only.
-- with _admission
-- ARGV: 2 id  3 fence: the attempt and its token  4 state (succeeded, failed, cancelled)  5 field ('result', 'failure' or '')  6 its JSON
--       7 digest of the whole input, or '' where an equal request is to be built again
-- signing (zset: as in _signing.lua)
-- memo:<digest> (string: id of the build that succeeded; expires with its record)
-- Answers the state, which of a cancelled build is 'superseded' where a newer one asked for it, and of one whose result
-- was published always 'succeeded'; '' where another attempt owns the build.
local build = load(ARGV[2])
if not build or build.fence ~= ARGV[3] then return '' end
local record, state = key('build:' .. build.id), ARGV[4]
if state == 'cancelled' and build.superseded_by then state = 'superseded' end
if build.state ~= 'running' then
  -- The same message sent twice gets the same answer.
  return build.state == state and string.find(ARGV[3], ' ', 1, true) and state or ''
end
local published, target = unpack(redis.call('HMGET', record, 'published', 'target'))
if published and state ~= 'succeeded' then
  state = 'succeeded'
  ARGV[5], ARGV[6] = 'result', published
  unsettle(target, 0)
elseif target and state == 'succeeded' and not published then
  -- The holder has published; Redis lost that in a failover, and with it which image the tag is to point to.
  redis.call('HSET', key('tags'), target, cjson.decode(ARGV[6]).digest)
  unsettle(target, 0)
end
if state ~= 'superseded' then redis.call('HDEL', record, 'superseded_by') end
if ARGV[5] ~= '' then redis.call('HSET', record, ARGV[5], ARGV[6]) end
enter(build, state)
if state == 'superseded' then
  tell(build, 'attempt', build.attempt, 'superseded_by', build.superseded_by)
else
  tell(build, 'attempt', build.attempt)
end
if ARGV[7] ~= '' then
  redis.call('SET', key('memo:' .. ARGV[7]), build.id, 'EX', terms.record_seconds)
  redis.call('HSET', record, 'input', ARGV[7])
end
redis.call('ZREM', key('signing'), build.id)
admit(build.tenant)
return state
