-- Gives up all leases of the aggregator ARGV[1] in KEYS[1].
local all = redis.call('HGETALL', KEYS[1])
redis.call('HDEL', KEYS[1], '@' .. ARGV[1])
local n = 0
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 1) ~= '@' and string.match(all[i + 1], '^%d+ (.*)$') == ARGV[1] then
    redis.call('HDEL', KEYS[1], all[i])
    n = n + 1
  end
end
return n
