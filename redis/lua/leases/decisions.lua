-- Returns the news, then the log of decisions, newest first. Leases that lapsed
-- since the last change are entered before.
--
-- ARGV: how many
local list = {news()}
for _, text in ipairs(redis.pcall('LRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1)) do
  list[#list + 1] = text
end
return list
