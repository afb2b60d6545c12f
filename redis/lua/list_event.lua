-- Enters the event ARGV[1] in the index and changes the version. It is at least
-- the time, so that it is new after the data was lost as well.
--
-- KEYS: events, version
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
redis.call('SADD', KEYS[1], ARGV[1])
local version = math.max(now, tonumber(redis.call('GET', KEYS[2]) or '0') + 1)
redis.call('SET', KEYS[2], string.format('%.0f', version))
return 1
