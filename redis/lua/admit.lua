-- Admits values of an event's free dimensions, first come, first served.
-- Returns 1 or 0 for each.
--
-- KEYS[1]: the registry. ARGV: limit over all dimensions, TTL ms, then
-- dimension, value, limit for each value
local answers = {}
local total = tonumber(redis.call('HGET', KEYS[1], '#') or '0')
for i = 3, #ARGV, 3 do
  local field, count = ARGV[i] .. '=' .. ARGV[i + 1], '#' .. ARGV[i]
  local ok = redis.call('HEXISTS', KEYS[1], field)
  if ok == 0 and total < tonumber(ARGV[1]) then
    local n = tonumber(redis.call('HGET', KEYS[1], count) or '0')
    if n < tonumber(ARGV[i + 2]) then
      redis.call('HSET', KEYS[1], field, '1')
      redis.call('HINCRBY', KEYS[1], count, 1)
      total = redis.call('HINCRBY', KEYS[1], '#', 1)
      ok = 1
    end
  end
  answers[#answers + 1] = ok
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return answers
