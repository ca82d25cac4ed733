-- The bases that rollouts have put before those of apps' channels, each once.
-- KEYS: 1 app-bases (hash: "tenant/app" -> repository@digest)
local seen, found = {}, {}
for _, base in ipairs(redis.call('HVALS', KEYS[1])) do
  if not seen[base] then
    seen[base] = true
    found[#found + 1] = base
  end
end
return found
