-- Chooses the channel that an app follows.
-- with _bases
-- KEYS: 1 the namespace
-- ARGV: 1 tenant/app  2 name
-- Answers 1, or 0 if there is no such channel.
local prefix = KEYS[1]
if ARGV[2] == STABLE then
  redis.call('HDEL', prefix .. 'app-channels', ARGV[1])
  return 1
end
if base_of_channel(prefix, ARGV[2]) == '' then return 0 end
redis.call('HSET', prefix .. 'app-channels', ARGV[1], ARGV[2])
return 1
