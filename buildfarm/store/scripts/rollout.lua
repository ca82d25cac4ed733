-- Changes rollouts, and with them at most one app's image and the channel, if nothing has changed since the caller read.
-- with _webhooks
-- KEYS: 1 the namespace
-- ARGV: 1 the change (JSON): rollouts (a list of id, revision, next, header, apps, log, active, final, number), move, channel, bases;
--       2 how many lines of a rollout's log stay  3 seconds that an ended rollout stays  4 how many image changes stay
--       5 how many moves of an app are listed  6 seconds that they stay  7 how many deliveries a tenant may have
--       8 seconds that the apps of an ended rollout stay
-- rollouts               zset: ids by their numbers
-- rollout:<id>           hash: revision, header (JSON)
-- rollout:<id>:apps      hash: tenant/app -> JSON
-- rollout:<id>:log       list: changes of the phase (JSON), the newest first
-- rollouts:active        hash: channel -> id of the rollout that moves its apps
-- app-bases              hash: tenant/app -> repository@digest that its builds stand on while a rollout is under way
-- image-changes          stream: images that apps are to run, as they change
-- Writes tags, unsettled and rebases:<t>/<a> as rebase.lua does, and plans the app's webhook.
-- Returns 'done', 'stale' (a rollout has changed, or another one moves the channel's apps), 'other' (the app has another newest image) or 'channel' (it has moved).
local change = cjson.decode(ARGV[1])

local function build_on(app, base)
  if base == '' then
    redis.call('HDEL', key('app-bases'), app)
  else
    redis.call('HSET', key('app-bases'), app, base)
  end
end

local changed = {}
for _, one in ipairs(change.rollouts) do
  if (redis.call('HGET', key('rollout:' .. one.id), 'revision') or '') ~= one.revision then return 'stale' end
  changed[one.id] = true
end
for _, one in ipairs(change.rollouts) do
  local active = one.active and redis.call('HGET', key('rollouts:active'), one.channel)
  if active and not changed[active] and redis.call('EXISTS', key('rollout:' .. active)) == 1 then return 'stale' end
end
local move, channel = change.move, change.channel
if move and (redis.call('HGET', key('tags'), move.target) or '') ~= move.before then return 'other' end
-- A farm whose builder was never promoted builds on that of its settings.
local promoted = redis.call('GET', key('promoted')) or ''
if channel and promoted ~= '' and promoted ~= channel.before and promoted ~= channel.after then return 'channel' end

for _, one in ipairs(change.rollouts) do
  local header, apps, log = key('rollout:' .. one.id), key('rollout:' .. one.id) .. ':apps', key('rollout:' .. one.id) .. ':log'
  redis.call('HSET', header, 'revision', one.next, 'header', one.header)
  if one.number then redis.call('ZADD', key('rollouts'), one.number, one.id) end
  for name, text in pairs(one.apps) do redis.call('HSET', apps, name, text) end
  if one.log then
    redis.call('LPUSH', log, one.log)
    redis.call('LTRIM', log, 0, ARGV[2] - 1)
  end
  if one.active then redis.call('HSET', key('rollouts:active'), one.channel, one.id) end
  if one.final then
    for _, name in ipairs({header, log}) do redis.call('EXPIRE', name, ARGV[3]) end
    redis.call('EXPIRE', apps, ARGV[8])
    if redis.call('HGET', key('rollouts:active'), one.channel) == one.id then
      redis.call('HDEL', key('rollouts:active'), one.channel)
    end
  end
end
if move then
  local moves = key('rebases:') .. move.app
  redis.call('HSET', key('tags'), move.target, move.after)
  if move.entry then  -- else a build has put the image there
    redis.call('LPUSH', moves, move.entry)
    redis.call('LTRIM', moves, 0, ARGV[5] - 1)
    redis.call('EXPIRE', moves, ARGV[6])
  end
  redis.call('ZADD', key('unsettled'), math.floor(now) + 5, move.target)
  if move.base then build_on(move.app, move.base) end
  local position = redis.call('XADD', key('image-changes'), 'MAXLEN', '~', ARGV[4], '*',
    'app', move.app, 'image', move.after, 'previous', move.previous, 'base', move.on, 'rollout', move.rollout,
    'wave', move.wave, 'reason', move.reason)
  local tenant, app = string.match(move.app, '^([^/]+)/(.+)$')
  if redis.call('EXISTS', key('webhook:') .. tenant) == 1 then
    plan(tenant, 'image.' .. app .. '.' .. position, now)
    redis.call('ZREMRANGEBYRANK', key('webhooks:due:' .. tenant), 0, -1 - ARGV[7])
  end
end
for app, base in pairs(change.bases) do build_on(app, base) end
if channel then redis.call('SET', key('promoted'), channel.after) end
return 'done'
