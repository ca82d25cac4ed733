-- Plans the next try of a delivery. Of too many, those that were due first are given up.
-- with _webhooks
-- ARGV: 1 tenant  2 build id  3 seconds from now  4 how many a tenant may have
-- Returns how many were given up.
plan(ARGV[1], ARGV[2], now + ARGV[3])
return redis.call('ZREMRANGEBYRANK', key('webhooks:due:' .. ARGV[1]), 0, -1 - ARGV[4])
