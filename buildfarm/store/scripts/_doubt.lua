-- Whether an ended lease says anything about its holder; prepended to every script that says "with _doubt".
-- After a gap in sweeping, a failover or a step of the clock, holders may not have been able to renew. Nothing is taken
-- back then until they have had one lease's length to do it.
--
-- swept  hash: at (time of the last sweep), run_id (of the Redis process that it ran on), doubt_until
local function redis_run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end

-- Returns "clear", "begins" if doubt starts with this call, or "doubt"; and the time of the last sweep, or nil.
local function doubt_of(swept, now, gap, lease)
  local found = redis.call('HMGET', swept, 'at', 'run_id', 'doubt_until')
  local at, ends = tonumber(found[1] or ''), tonumber(found[3] or '') or 0
  if not at or found[2] ~= redis_run_id() or now - at > gap or now < at then
    redis.call('HSET', swept, 'doubt_until', string.format('%.6f', now + lease))
    return 'begins', at
  end
  if ends > now + lease then  -- the clock was set back since
    ends = now + lease
    redis.call('HSET', swept, 'doubt_until', string.format('%.6f', ends))
  end
  return ends > now and 'doubt' or 'clear', at
end

