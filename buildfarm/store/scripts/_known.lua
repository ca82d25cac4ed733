-- Bases that operators have chosen; put before each script that says "with _known".
--
-- bases  zset: repository@digest by when it was chosen last: for a channel, a rollout, or the move of an app. The signer signs
--        no app's image on another one.
local BASES_MAX = 10000

local function know_base(prefix, base)
  if base == '' then return end
  redis.call('ZADD', prefix .. 'bases', redis.call('TIME')[1], base)
  redis.call('ZREMRANGEBYRANK', prefix .. 'bases', 0, -1 - BASES_MAX)
end
