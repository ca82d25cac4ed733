-- Replaces a credential as it was read by the same one with its host's keys, unless it has changed meanwhile.
-- KEYS: 1 credentials:<t> (hash: NAME or app:NAME -> what is shown, and the encrypted value)
-- ARGV: 1 the field  2 its value as it was read  3 its new value
-- Answers 1 if it is done.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
