-- Requests to the signer; put before each script that says "with _signing".
--
-- signing        zset: builds by id, and targets, that wait for the signer, by when it may claim them
-- signing:calls  list: a wake-up for each new request
local CALLS_MAX = 1000

local function ask_signer(signing, calls, name, at)
  redis.call('ZADD', signing, at, name)
  redis.call('RPUSH', calls, name)
  redis.call('LTRIM', calls, -CALLS_MAX, -1)
end
