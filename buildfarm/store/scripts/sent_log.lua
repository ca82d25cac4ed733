-- An attempt's whole log is in the registry.
-- with _logs
-- KEYS: 1 build:<id> (log_blobs: "attempt:digest:bytes" of each such attempt, with spaces between)  2 the namespace
-- ARGV: 1 attempt  2 digest  3 bytes; an empty digest: it was lost on its node
-- Returns 0 where the record is gone.
local place, attempts, finished, blobs, waits, id =
  unpack(redis.call('HMGET', KEYS[1], 'place', 'attempt', 'finished_at', 'log_blobs', 'log_waits', 'id'))
if not place then return 0 end
if string.match(waits or '', '^%d+') == ARGV[1] then redis.call('HDEL', KEYS[1], 'log_waits') end
if ARGV[2] == '' then return 1 end
local blob = ARGV[1] .. ':' .. ARGV[2] .. ':' .. ARGV[3]
if not string.find(blobs or '', blob, 1, true) then
  redis.call('HSET', KEYS[1], 'log_blobs', blobs and blobs .. ' ' .. blob or blob)
end
-- Of a build with several attempts, the others may be in Redis alone.
if finished and attempts == '1' then remove_log(string.match(place, '^%S+'), id, tonumber(finished)) end
return 1
