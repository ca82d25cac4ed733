-- Sets limits of a tenant or of one of its apps, and queues what they now leave room for.
-- with _admission
-- ARGV: 2 tenant  3 app, or ''  4... pairs of a field of limits and its value; '': back to what the settings say
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', key('limits'), ARGV[i])
  else
    redis.call('HSET', key('limits'), ARGV[i], ARGV[i + 1])
  end
end
if ARGV[3] ~= '' then offer(ARGV[2], ARGV[3]) end
admit(ARGV[2])
return ''
