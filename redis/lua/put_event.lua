-- Stores an event unless a later one is there. Returns the time it counts as
-- updated at, '0' if it was not stored.
--
-- KEYS[1]: the event. ARGV: updated at (0: now), JSON, TTL ms (0: for ever)
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local last = tonumber(redis.call('HGET', KEYS[1], 'u') or '0')
local at = tonumber(ARGV[1])
if at == 0 then
  at = math.max(now, last + 1)
elseif at < last then
  return '0'
end
local stamp = string.format('%.0f', at)
redis.call('HSET', KEYS[1], 'u', stamp, 'd', ARGV[2])
if ARGV[3] == '0' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return stamp
