-- Returns the log of decisions, newest first, with the leases that lapsed since
-- the last change.
--
-- ARGV: how many
if corrupt or #lapsed > 0 then
  write()
  note()
end
local list = redis.pcall('LRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1)
if list.err then
  list = {}
end
table.insert(list, 1, told({}))
return list
