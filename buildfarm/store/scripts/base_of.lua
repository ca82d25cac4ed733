-- Which base an app's next build stands on.
-- with _bases
-- KEYS: 1 the namespace
-- ARGV: 1 tenant/app
-- Answers {channel, the channel's base or '', the base that goes before it or ''}.
return {bases_of_app(KEYS[1], ARGV[1])}
