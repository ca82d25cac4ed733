-- Sends the messages of builds whose wait for another attempt is over.
-- with _admission
-- ARGV: 2 how many at most
-- Answers how many there were.
local ids = redis.call('ZRANGEBYSCORE', key('retries'), '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local build = load(id)
  redis.call('ZREM', key('retries'), id)
  if build and build.state == 'queued' then wake(id, 'build.' .. build.class .. '.retry') end
end
return #ids
