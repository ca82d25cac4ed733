-- Names an earlier image as the one that a target's tag is to point to; the tag itself moves after this.
-- A build that publishes later moves it on: publish.lua writes the same field.
-- KEYS: 1 tags (hash: target -> digest)  2 unsettled (zset: a node makes sure of the tag)
--       3 signing (zset: builds that wait for the signer)  4 tagged:<target> (string: as in signed.lua)
-- ARGV: 1 target  2 digest, or '' for none  3 the digest that must be there now, '': any, 'none': none
--       4 '': the image counts as published now. Else that time is put back: '0' for none, or 'same'
-- Answers {'moved' | 'other', the digest that was there, or '', the time before or '0'}; asked for what is there already, it has
-- 'moved'.
local KEPT_SECONDS = 604800  -- as in signed.lua
local before = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local seen = ARGV[3] == 'none' and '' or ARGV[3]
if ARGV[3] ~= '' and before ~= seen and before ~= ARGV[2] then return {'other', before, '0'} end
local t = redis.call('TIME')
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
-- A build that was published before this and waits for its signature does not take the tag back.
local published = redis.call('GET', KEYS[4]) or '0'
if (ARGV[4] or '') == '' then
  if redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('SET', KEYS[4], string.format('%.6f', t[1] + t[2] / 1000000), 'EX', KEPT_SECONDS)
  end
elseif ARGV[4] == '0' then
  redis.call('DEL', KEYS[4])
elseif ARGV[4] ~= 'same' then
  redis.call('SET', KEYS[4], ARGV[4], 'EX', KEPT_SECONDS)
end
redis.call('ZADD', KEYS[2], string.format('%.6f', t[1] + t[2] / 1000000 + 5), ARGV[1])
return {'moved', before, published}
