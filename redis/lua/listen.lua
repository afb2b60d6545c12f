-- Keeps a member's stream of notices alive, begins it if there is none, and
-- returns the id of its newest entry and its birth.
--
-- KEYS[1]: the stream. ARGV: TTL ms
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last == 0 then
  local clock = redis.call('TIME')
  redis.call('XADD', KEYS[1], '*', 'b', clock[1] .. '.' .. clock[2], 'n', '0', 'a', '')
  last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {last[1][1], last[1][2][2]}
