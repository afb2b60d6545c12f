-- Appends to lists and sets fields of hashes, for many events of one shard.
--
-- KEYS: of the lists and hashes. ARGV: for each a command (RPUSH or HSET), its
-- TTL ms, the number of arguments that follow, and those
local at = 1
for _, key in ipairs(KEYS) do
  local command, ttl, first = ARGV[at], ARGV[at + 1], at + 3
  at = first + tonumber(ARGV[at + 2])
  for from = first, at - 1, 1000 do -- Lua takes some 8,000 at a time
    redis.call(command, key, unpack(ARGV, from, math.min(from + 999, at - 1)))
  end
  redis.call('PEXPIRE', key, ttl)
end
return #KEYS
