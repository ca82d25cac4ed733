-- Cancels a build: at once where it waits, at its holder's next renewal where it runs.
-- KEYS: 1 build:<id>  2 queued  3 events  4 build:<id>:log
-- ARGV: 1 id  2 how many events are kept  3 seconds until the record expires
-- Returns the state it was found in, or '' where there is no such build.
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return '' end
if state == 'running' then
  redis.call('HSET', KEYS[1], 'cancel', 1)
elseif state == 'queued' or state == 'held' then
  local t = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'state', 'cancelled', 'finished_at', string.format('%.6f', t[1] + t[2] / 1000000))
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  redis.call('EXPIRE', KEYS[4], ARGV[3])
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'build', ARGV[1], 'state', 'cancelled')
end
return state
