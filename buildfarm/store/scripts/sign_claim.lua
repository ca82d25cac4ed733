-- Gives the oldest request that is due to a signer, and puts it off, so that no other signer takes it meanwhile.
-- with _admission
-- ARGV: 2 token, with which the signer holds a build from now on  3 seconds after which another signer may claim it
-- signing (zset: as in _signing.lua)
-- signing:calls (list: as in _signing.lua): wake-ups that are left go when nothing is due; each would wake a signer for nothing
-- signing:documents:<target> (string: as in sign_target.lua)
-- Answers {} if nothing is due, {target, its new score, documents or ''}, or {id, its new score, the record}.
local later = string.format('%.6f', now + ARGV[3])
while true do
  local name = redis.call('ZRANGEBYSCORE', key('signing'), '-inf', now, 'LIMIT', 0, 1)[1]
  if not name then
    redis.call('DEL', key('signing:calls'))
    return {}
  end
  redis.call('ZADD', key('signing'), later, name)
  if string.find(name, '/', 1, true) then
    return {name, later, redis.call('GETDEL', key('signing:documents:' .. name)) or ''}
  end
  local build = load(name)
  local record = key('build:' .. name)
  if build and build.state == 'running' and redis.call('HEXISTS', record, 'handed') == 1 then
    redis.call('HSET', record, 'holder', build.attempt .. ' ' .. ARGV[2])
    local answer = redis.call('HGETALL', record)
    table.insert(answer, 1, later)
    table.insert(answer, 1, name)
    return answer
  end
  redis.call('ZREM', key('signing'), name)  -- it has ended
end
