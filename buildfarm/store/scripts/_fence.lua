-- Which attempt may write to a build; prepended to every script that says "with _fence".
--
-- build:<id>  holder: "<attempt> <token>" of the newest claim. A node of an older version claims without a token and
--             leaves the field as it is; the field then names an older attempt than the record and counts as missing.
--
-- Returns what a writer must present: "<attempt> <token>", or "<attempt>" if the claim stored no token.
local function fence_of(attempt, holder)
  if holder and attempt and string.match(holder, '^%d+') == attempt then return holder end
  return attempt
end

