-- Ends a try: the delivery is done, or due again. The tenant's next one can be handed out.
-- with _webhooks
-- ARGV: 1 tenant  2 build id  3 seconds until the next try, or '' if there is none  4 a list: if it has anything, now
if (ARGV[4] or '') ~= '' and redis.call('EXISTS', key(ARGV[4])) == 1 then ARGV[3] = '0' end
if ARGV[3] == '' then
  redis.call('ZREM', key('webhooks:due:' .. ARGV[1]), ARGV[2])
  redis.call('DEL', key('webhooks:tries:' .. ARGV[2]))
else
  redis.call('ZADD', key('webhooks:due:' .. ARGV[1]), now + ARGV[3], ARGV[2])
end
local out = redis.call('HGET', key('webhooks:out'), ARGV[1])
-- If it was taken for lost meanwhile, the tenant has another one out.
if not out or string.match(out, '^%S+ (.*)$') == ARGV[2] then
  redis.call('HDEL', key('webhooks:out'), ARGV[1])
  take_turn(ARGV[1])
end
