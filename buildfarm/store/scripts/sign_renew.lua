-- Keeps a signer's claim on a request for as long again.
-- with _fence
-- KEYS: 1 signing (zset: as in _signing.lua)  2 build:<id>
-- ARGV: 1 name: a build's id or a target  2 what shows that the caller has claimed it: of a build the fence (the attempt and the
--       signer's token), of a target its score  3 seconds  4 '1' if it is a build
-- Answers its new score, or '' if another signer has claimed it.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then return '' end
if ARGV[4] == '1' then
  local attempt, holder = unpack(redis.call('HMGET', KEYS[2], 'attempt', 'holder'))
  if fence_of(attempt, holder) ~= ARGV[2] then return '' end
elseif tonumber(score) ~= tonumber(ARGV[2]) then
  return ''
end
local t = redis.call('TIME')
local later = string.format('%.6f', t[1] + t[2] / 1000000 + ARGV[3])
redis.call('ZADD', KEYS[1], later, ARGV[1])
return later
