-- Takes a delivery of a push hook, once, and makes the hook's turn due.
-- with _webhooks
-- ARGV: 1 hook  2 identity of the delivery  3 seconds that it is remembered  4 how many are  5 how many changes may wait
--       6 the lane of its tenant's turns; then the changes (JSON)
-- hook:<id>:seen (zset: identity -> when it came; expires)  hook:<id>:inbox (list: changes to be acted on)
-- Returns 'new', 'seen', or 'full'.
local seen, inbox = key('hook:' .. ARGV[1] .. ':seen'), key('hook:' .. ARGV[1] .. ':inbox')
if redis.call('ZSCORE', seen, ARGV[2]) then return 'seen' end
if redis.call('LLEN', inbox) + #ARGV - 6 > tonumber(ARGV[5]) then return 'full' end
redis.call('ZADD', seen, now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', seen, '-inf', now - ARGV[3])
redis.call('ZREMRANGEBYRANK', seen, 0, -1 - ARGV[4])
redis.call('EXPIRE', seen, ARGV[3])
for at = 7, #ARGV do redis.call('RPUSH', inbox, ARGV[at]) end
if #ARGV > 6 then plan(ARGV[6], ARGV[1], now) end
return 'new'
