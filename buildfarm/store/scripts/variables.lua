-- Changes the build variables of the farm, or of a tenant and its apps, if there is room for all of the changes.
-- Credentials are changed likewise.
-- KEYS: 1 variables, variables:<t> or credentials:<t> (hash: NAME or app:NAME -> flags and the encrypted value)
-- ARGV: 1 how many there may be  2 of how many bytes together; then pairs of a field and its value, '' to remove it
-- Answers {} if it is done, or {how many there would be, bytes}.
local kept, names, bytes = {}, 0, 0
local found = redis.call('HGETALL', KEYS[1])
for at = 1, #found, 2 do kept[found[at]] = #found[at] + #found[at + 1] end
for at = 3, #ARGV, 2 do kept[ARGV[at]] = ARGV[at + 1] ~= '' and #ARGV[at] + #ARGV[at + 1] or nil end
for _, size in pairs(kept) do names, bytes = names + 1, bytes + size end
if names > tonumber(ARGV[1]) or bytes > tonumber(ARGV[2]) then return {names, bytes} end
for at = 3, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[at])
  else
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  end
end
return {}
