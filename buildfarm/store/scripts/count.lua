-- Adds to sums; one that comes to zero goes away, so that nothing is left of a tenant without uploads.
-- KEYS: 1 usage (hash: "<t>:<kind>" as the newest collection found it, "<t>:<kind>:new" what came since)
-- ARGV: pairs of a field and by how much
for i = 1, #ARGV, 2 do
  if redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) == 0 then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return ''
