-- Offers of builds to the node that has their app's cache at hand; put before each script that says "with _offers".
-- KEYS: 1 the namespace
--
-- node:<id>        hash: its heartbeat. free: free slots, by the heartbeat and the claims and ends since; serves: the
--                  kinds of builds that it takes offers of. A node of an older version has neither.
-- build.<id>.node  list: a queue of Celery's that this node alone reads; expires. build.<id>+<size>.node: likewise, of another
--                  size than standard
local OFFER_SEEN_SECONDS = 3  -- a node whose last heartbeat is older is offered nothing
local OFFER_KEPT_SECONDS = 60

-- The class and the size of a kind; scripts call a kind a class (buildfarm/queue/names.py).
local function class_of(kind) return string.match(kind, '^[^X]+') end

local function size_of(kind) return string.match(kind, 'X(.+)$') or 'standard' end

local function own_queue(node, size)
  return KEYS[1] .. 'build.' .. node .. (size ~= 'standard' and '+' .. size or '') .. '.node'
end

local function heartbeat(node) return KEYS[1] .. 'node:' .. node end

local function count_free(node, by)
  if redis.call('HEXISTS', heartbeat(node), 'free') == 1 then redis.call('HINCRBY', heartbeat(node), 'free', by) end
end

-- A slot for every build that is queued: where more of them wait, a slot that is free takes one of them at once.
local function has_room(node, class, now)
  local found = redis.call('HMGET', heartbeat(node), 'seen_at', 'free', 'serves')
  local seen_at, free = tonumber(found[1] or 0), tonumber(found[2] or 0)
  local serves = string.find(' ' .. (found[3] or '') .. ' ', ' ' .. class .. ' ', 1, true)
  local queued = redis.call('ZCARD', KEYS[1] .. 'queued')
  return serves and free > 0 and free >= queued and now - seen_at < OFFER_SEEN_SECONDS
end

local function offer_to(node, size, message)
  local queue = own_queue(node, size)
  redis.call('LPUSH', queue, message)
  redis.call('EXPIRE', queue, OFFER_KEPT_SECONDS)
end

-- A node that left the message lying has no room, whatever it said: nothing more is offered until it says so again.
local function withdraw(node, size, message)
  local left = redis.call('LREM', own_queue(node, size), 0, message) > 0
  if left and redis.call('HEXISTS', heartbeat(node), 'free') == 1 then
    redis.call('HSET', heartbeat(node), 'free', 0)
  end
end
