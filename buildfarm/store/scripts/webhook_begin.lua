-- Begins a try, unless another sender has the delivery or it was taken for lost and handed out again.
-- with _webhooks
-- ARGV: 1 tenant  2 build id  3 seconds after which it is taken for lost  4 seconds after which its tries are forgotten
-- Returns which try this is, from 1; 0 if there is nothing to do.
if redis.call('HGET', key('webhooks:out'), ARGV[1]) ~= 'queued ' .. ARGV[2] then return 0 end
redis.call('HSET', key('webhooks:out'), ARGV[1], 'sending ' .. ARGV[2])
redis.call('ZADD', key('webhooks:due:' .. ARGV[1]), now + ARGV[3], ARGV[2])
redis.call('ZADD', key('webhooks:tenants'), now + ARGV[3], ARGV[1])
local tries = key('webhooks:tries:' .. ARGV[2])
local number = redis.call('INCR', tries)
redis.call('EXPIRE', tries, ARGV[4])
return number
