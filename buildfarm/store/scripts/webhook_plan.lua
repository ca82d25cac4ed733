-- Plans the next try of a delivery.
-- with _webhooks
-- ARGV: 1 tenant  2 build id  3 seconds from now
plan(ARGV[1], ARGV[2], now + ARGV[3])
