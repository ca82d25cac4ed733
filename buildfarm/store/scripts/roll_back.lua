-- Names an earlier image as the one that a target's tag is to point to; the tag itself moves after this.
-- A build that publishes later moves it on: publish.lua writes the same field.
-- KEYS: 1 tags (hash: target -> digest)  2 unsettled (zset: a node makes sure of the tag)
-- ARGV: 1 target  2 digest, or '' for none  3 the digest that must be there now, or ''
-- Answers {'moved' | 'other', the digest that was there, or ''}; asked for what is there already, it has 'moved'.
local before = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if ARGV[3] ~= '' and before ~= ARGV[3] and before ~= ARGV[2] then return {'other', before} end
local t = redis.call('TIME')
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('ZADD', KEYS[2], string.format('%.6f', t[1] + t[2] / 1000000 + 5), ARGV[1])
return {'moved', before}
