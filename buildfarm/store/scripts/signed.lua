-- The image of a published build is signed: names it as the one that the tag of its target is to point to, unless a build that
-- was published later, or a rollback, came before. The tag itself moves after this.
-- with _admission
-- ARGV: 2 id  3 fence: the attempt and the signer's token  4 digest
-- tagged:<target> (string: when the image that the tag is to point to was published; expires)
-- build:<id>  named: '1' as soon as this was decided for the build. A signer that does the request once more decides nothing:
--             the app may have moved to another base meanwhile
-- Answers the image that the tag is to point to, or '' if another signer holds the build.
local KEPT_SECONDS = 604800  -- a build that waits longer than this beside a later one of its target could take its tag back
local build = load(ARGV[2])
if not build or build.state ~= 'running' or build.fence ~= ARGV[3] then return '' end
local target, at = unpack(redis.call('HMGET', key('build:' .. build.id), 'target', 'published_at'))
local newest = tonumber(redis.call('GET', key('tagged:' .. target)) or 0)
if redis.call('HSETNX', key('build:' .. build.id), 'named', '1') == 1 and newest <= tonumber(at) then
  redis.call('HSET', key('tags'), target, ARGV[4])
  redis.call('SET', key('tagged:' .. target), at, 'EX', KEPT_SECONDS)
end
unsettle(target, 5)
return redis.call('HGET', key('tags'), target) or ARGV[4]
