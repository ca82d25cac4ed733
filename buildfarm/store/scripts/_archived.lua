-- Where archived builds are noted; put before each script that says "with _archived".
--
-- archived:<bucket>  hash: id -> "tenant/app submitted", for each build in the archive. Small hashes: in one of up to
--                    128 fields, a build takes about as many bytes as its id and its value have.
local ARCHIVED_BUCKETS = 4096

local function archived_key(prefix, id)
  return prefix .. 'archived:' .. tonumber(string.sub(redis.sha1hex(id), 1, 8), 16) % ARCHIVED_BUCKETS
end
