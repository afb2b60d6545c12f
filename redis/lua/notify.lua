-- Appends notices to the stream of a member. Each has a number, by which the
-- reader sees that some are missing.
--
-- KEYS[1]: the stream. ARGV: how many are kept, TTL ms, then the accounts
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local n = 0
if #last > 0 then
  n = tonumber(last[1][2][2]) or 0
end
for i = 3, #ARGV do
  n = n + 1
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'n', string.format('%.0f', n), 'a', ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return n
