-- Appends notices to the stream of a member. Each has a number, and the birth of
-- the stream: by them the reader sees that some are missing, or all that were.
-- Returns the last number.
--
-- KEYS[1]: the stream. ARGV: how many are kept, TTL ms, then the accounts
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local birth, n
if #last > 0 then
  birth, n = last[1][2][2], tonumber(last[1][2][4])
end
if not n then
  local clock = redis.call('TIME')
  birth, n = clock[1] .. '.' .. clock[2], 0
end
for i = 3, #ARGV do
  n = n + 1
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'b', birth, 'n', string.format('%.0f', n), 'a', ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return n
