-- Asks the signer to sign the image that a target's tag is to point to, and to move the tag.
-- with _signing
-- KEYS: 1 signing  2 signing:calls
--       3 signing:documents:<target> (string: argument 2, until the signer claims the request; expires)
-- ARGV: 1 target  2 documents of the image (JSON list of texts), or ''
local DOCUMENTS_MAX = 200  -- requests that wait with theirs: of more, the signer reads them in the registry
local KEPT_SECONDS = 60
local t = redis.call('TIME')
ask_signer(KEYS[1], KEYS[2], ARGV[1], string.format('%.6f', t[1] + t[2] / 1000000))
if ARGV[2] ~= '' and redis.call('ZCARD', KEYS[1]) <= DOCUMENTS_MAX then
  redis.call('SET', KEYS[3], ARGV[2], 'EX', KEPT_SECONDS)
end
return ''
