-- Cancels a build: at once if it waits; if it runs, as soon as its node learns of it.
-- with _admission
-- ARGV: 2 id
-- Answers the state it was found in, '' if there is no such build, or 'publishing': too late, it will succeed.
local build = load(ARGV[2])
if not build then return '' end
local found = build.state
if build.publishes then return 'publishing' end
if found == 'running' then
  call_off(build)
elseif WAITING[found] then
  enter(build, 'cancelled')
  tell(build)
  admit(build.tenant)
end
return found
