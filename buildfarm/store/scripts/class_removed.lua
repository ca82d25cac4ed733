-- Fails builds that wait in a class or size which was taken out of the settings, and notes which ones are in them.
-- with _admission
-- ARGV: 2 seconds since the class was last in the settings  3 failure (JSON)  4 how many at most
-- nodes (zset), node:<id> (hash)
-- classes (hash: class -> when a sweeper last found it in its settings; one without builds is forgotten after a month)
-- kinds (hash: the same of classes of another size than standard, which a sweeper of an older version would take for removed)
-- Answers their ids.
local FORGOTTEN_SECONDS = 30 * 86400
local NODE_SILENT_SECONDS = 10
local function seen_key(class) return key(size_of(class) == 'standard' and 'classes' or 'kinds') end

-- A node that lives serves it: the sweeper's own settings are not those of all nodes.
local function is_served(class)
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', key('nodes'), now - NODE_SILENT_SECONDS, '+inf')) do
    local classes = redis.call('HGET', key('node:' .. node), 'classes') or '[]'
    if string.find(classes, '"' .. class .. '"', 1, true) then return true end
  end
  return false
end

local known = {}
for _, class in ipairs(terms.classes) do
  known[class.name] = true
  redis.call('HSET', seen_key(class.name), class.name, stamp)
end
local ids, most = {}, tonumber(ARGV[4])
local seen = redis.call('HGETALL', key('classes'))
for _, part in ipairs(redis.call('HGETALL', key('kinds'))) do seen[#seen + 1] = part end
for i = 1, #seen, 2 do
  -- For a while after a change, some processes still have the settings of before.
  local gone = not known[seen[i]] and tonumber(seen[i + 1]) + ARGV[2] <= now
  if gone and redis.call('EXISTS', key('tenants:' .. seen[i])) == 1 and is_served(seen[i]) then
    redis.call('HSET', seen_key(seen[i]), seen[i], stamp)
    gone = false
  end
  local tenants = gone and redis.call('ZRANGE', key('tenants:' .. seen[i]), 0, most - 1) or {}
  if gone and #tenants == 0 and tonumber(seen[i + 1]) + FORGOTTEN_SECONDS <= now then
    redis.call('HDEL', seen_key(seen[i]), seen[i])
  end
  for _, tenant in ipairs(tenants) do
    local left = most - #ids
    local waiting = left > 0 and redis.call('ZRANGE', key('waiting:' .. seen[i] .. ':' .. tenant), 0, left - 1) or {}
    for _, id in ipairs(waiting) do
      local build = load(id)
      if build then
        redis.call('HSET', key('build:' .. id), 'failure', ARGV[3])
        enter(build, 'failed')
        tell(build)
        -- No node reads their messages.
        redis.call('DEL', key(build.queue), key('build.' .. build.class .. '.retry'))
        ids[#ids + 1] = id
      else
        redis.call('ZREM', key('waiting:' .. seen[i] .. ':' .. tenant), id)
        show_oldest(seen[i], tenant)
      end
    end
    if #waiting > 0 then
      redis.call('DEL', key('ready:' .. seen[i] .. ':' .. tenant))
      admit(tenant)
    end
  end
end
return ids
