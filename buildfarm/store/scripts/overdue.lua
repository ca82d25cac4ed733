-- Picks queued builds whose message is old, and marks them as sent again, so that one sweeper only sends each.
-- with _admission
-- ARGV: 2 seconds since the last message  3 how many at most  4 'retry': they come before all others
-- Answers their ids.
local ids = redis.call('ZRANGEBYSCORE', key('queued'), '-inf', now - ARGV[2], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  local build = load(id)
  if build then
    redis.call('ZADD', key('queued'), stamp, id)
    wake(id, ARGV[4] == 'retry' and 'build.' .. build.class .. '.retry' or build.queue)
  else
    redis.call('ZREM', key('queued'), id)
  end
end
return ids
