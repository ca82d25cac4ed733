-- How much memory Redis uses and may use; put before each script that says "with _memory".
local FULL = 0.8  -- from this share of maxmemory on, nothing is added that can be refused

-- Used bytes as Redis itself compares them with maxmemory, and maxmemory; 0 without a limit.
local function memory()
  local info = redis.call('INFO', 'memory')
  local buffers = tonumber(string.match(info, 'mem_not_counted_for_evict:(%d+)') or 0)
  return tonumber(string.match(info, 'used_memory:(%d+)')) - buffers, tonumber(string.match(info, 'maxmemory:(%d+)'))
end

local function is_full(used, most) return most > 0 and used >= FULL * most end
