-- Points a channel to a base, or removes it; with an entry in its history.
-- with _bases
-- with _known
-- KEYS: 1 the namespace
-- ARGV: 1 name  2 repository@digest, or '' to remove it  3 entry (JSON)  4 how many entries stay  5 seconds that they stay
-- channel:<name>  list: its history, entries of JSON, the newest first; expires
-- Answers {'set' | 'same' | 'removed', the base before or ''}, {'unknown', ''}, or {'used', an app that follows it, how
-- many do}.
local prefix, name, base = KEYS[1], ARGV[1], ARGV[2]
local before = base_of_channel(prefix, name)
know_base(prefix, base)
if before == base then return {base == '' and 'unknown' or 'same', before} end
if base == '' then
  local followed = redis.call('HGETALL', prefix .. 'app-channels')
  local first, count = '', 0
  for i = 1, #followed, 2 do
    if followed[i + 1] == name then
      count = count + 1
      if first == '' or followed[i] < first then first = followed[i] end
    end
  end
  if count > 0 then return {'used', first, count} end
  redis.call('HDEL', prefix .. 'channels', name)
elseif name == STABLE then
  redis.call('SET', prefix .. 'promoted', base)
else
  redis.call('HSET', prefix .. 'channels', name, base)
end
local history = prefix .. 'channel:' .. name
redis.call('LPUSH', history, ARGV[3])
redis.call('LTRIM', history, 0, ARGV[4] - 1)
redis.call('EXPIRE', history, ARGV[5])
return {base == '' and 'removed' or 'set', before}
