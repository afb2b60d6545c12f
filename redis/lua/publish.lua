-- Appends a shard's boards to its stream of length one if they are newer than
-- what is there. Returns {refusal, epoch, at}: of what is there afterwards.
--
-- KEYS[1]: the stream. ARGV: at, proposed epoch, boards, TTL ms, ms that a
-- board may be ahead, ms from which a stored one is poisoned
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local at, epoch = tonumber(ARGV[1]), math.max(1, tonumber(ARGV[2]))

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local lat, lepoch, boards = 0, 0, ''
if #last > 0 then
  for i = 1, #last[1][2], 2 do
    local field, value = last[1][2][i], last[1][2][i + 1]
    if field == 'at' then
      lat = tonumber(value) or 0
    elseif field == 'e' then
      lepoch = tonumber(value) or 0
    elseif field == 'd' then
      boards = value
    end
  end
end

local function answer(refused, e, a)
  return {refused, string.format('%.0f', e), string.format('%.0f', a)}
end

if at > now + tonumber(ARGV[5]) then
  return answer('future', lepoch, lat)
end
if #last > 0 then
  if at == lat and boards == ARGV[3] and lepoch >= epoch then
    return answer('', lepoch, lat) -- asked again: the first reply was lost
  end
  if lat > now + tonumber(ARGV[6]) then
    epoch = math.max(lepoch, epoch) + 1
  elseif at <= lat then
    return answer('old', lepoch, lat)
  else
    epoch = math.max(lepoch, epoch)
  end
end
redis.call('XADD', KEYS[1], 'MAXLEN', '1', '*',
  'at', string.format('%.0f', at), 'e', string.format('%.0f', epoch), 'd', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return answer('', epoch, at)
