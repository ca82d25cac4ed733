-- Appends lines to a build's log, for the holder of its lease only. A log over its limit says so once and stops.
-- KEYS: 1 build:<id>  2 build:<id>:log (stream: attempt, phase, text)
-- ARGV: 1 attempt  2 phase  3 limit in bytes  4... lines
-- Returns 1, or 0 where another attempt owns the build.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'log_bytes')
if record[1] ~= 'running' or record[2] ~= ARGV[1] then return 0 end
local limit = tonumber(ARGV[3])
local bytes = tonumber(record[3] or '0')
for i = 4, #ARGV do
  if bytes > limit then break end
  bytes = bytes + #ARGV[i] + 1
  local text = ARGV[i]
  if bytes > limit then text = 'The log is over its limit of ' .. ARGV[3] .. ' bytes; what follows is not kept.' end
  redis.call('XADD', KEYS[2], '*', 'a', ARGV[1], 'p', ARGV[2], 't', text)
end
redis.call('HSET', KEYS[1], 'log_bytes', bytes)
return 1
