-- Forgets members of a group that are idle and have no events: a process takes a new name each time it starts.
-- KEYS: 1 events (stream)
-- ARGV: 1 group  2 milliseconds since it last asked for events
for _, told in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local member = {}
  for i = 1, #told, 2 do member[told[i]] = told[i + 1] end
  if member.pending == 0 and member.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], member.name)
  end
end
return ''
