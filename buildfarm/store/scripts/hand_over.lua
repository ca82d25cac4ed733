-- Publishes a build and hands it over to the signer, for the holder of the lease only, in one step. As after publish.lua, the
-- build cannot be cancelled or superseded. Unlike there, the tag's image is not named yet: signed.lua does it.
-- with _admission
-- with _signing
-- ARGV: 2 id  3 fence: the attempt and its token  4 target  5 result (JSON)  6 digest of the whole input, or ''
--       7 the image's manifest and config (JSON list of texts), or ''
-- build:<id>  published, target: as in publish.lua; handed: the fence of the node that handed it over; published_at: when;
--             sign_input: argument 6; sign_documents: argument 7, until the build ends; holder: "<attempt> signer" until the signer claims it with a token (sign_claim.lua)
-- The node's slot is free from here on: see enter in _admission.lua.
-- Answers 'held', 'cancelled' or 'lost', as renew.lua does.
local record = key('build:' .. ARGV[2])
local found = redis.call('HMGET', record, 'state', 'attempt', 'cancel', 'began', 'holder', 'handed')
if found[6] == ARGV[3] then return 'held' end  -- sent twice
if found[1] ~= 'running' or fence_of(found[2], found[5]) ~= ARGV[3] then return 'lost' end
if found[3] then return 'cancelled' end
redis.call('HSET', record, 'phase', 'publish', 'began', string.format('%s publish=%s', found[4] or '', stamp),
  'published', ARGV[5], 'target', ARGV[4], 'published_at', stamp, 'sign_input', ARGV[6], 'handed', ARGV[3],
  'holder', found[2] .. ' signer', 'sign_documents', ARGV[7] or '')
redis.call('ZREM', key('leases'), ARGV[2])
count_free(redis.call('HGET', record, 'node') or '', 1)
ask_signer(key('signing'), key('signing:calls'), ARGV[2], stamp)
return 'held'
