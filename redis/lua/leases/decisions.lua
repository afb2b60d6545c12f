-- Returns the news, then the log of decisions, newest first. Leases that lapsed
-- since the last change are entered before.
--
-- ARGV: how many
local list = {account.news()}
for _, text in ipairs(redis.call('LRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  list[#list + 1] = text
end
return list
