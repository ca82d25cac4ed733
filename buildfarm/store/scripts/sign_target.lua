-- Asks the signer to sign the image that a target's tag is to point to, and to move the tag.
-- with _signing
-- KEYS: 1 signing  2 signing:calls
-- ARGV: 1 target
local t = redis.call('TIME')
ask_signer(KEYS[1], KEYS[2], ARGV[1], string.format('%.6f', t[1] + t[2] / 1000000))
return ''
