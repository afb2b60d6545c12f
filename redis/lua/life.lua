-- What the scripts about the life of the data set share: the time, which life it
-- is, and whether writes were lost that the asker knows of. Then another begins.
--
-- KEYS: boot, renewals. ARGV: a random name, should the life need one; when the
-- asker heard of it last (Redis ms, 0: never), how many renewals of leases there
-- had been, and which life it was. To count them needs no clock, and no key that
-- expires.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local stamp = string.format('%.0f', now)
local found = redis.call('MGET', KEYS[1], KEYS[2])
local boot, renewals = found[1], tonumber(found[2] or '') or 0
local began = boot and tonumber(string.match(boot, ' (%d+)$')) or 0

local function begin()
  boot, began = ARGV[1] .. ' ' .. stamp, now
  redis.call('SET', KEYS[1], boot)
end

-- unnoticed tells whether the life is the one that was heard of, or one of before:
-- else somebody else has noticed.
local function unnoticed(last)
  return began < last or string.match(boot, '^[^ ]*') == ARGV[4]
end

-- A replica that lacked the last writes, or a snapshot of earlier.
if not boot or (renewals < tonumber(ARGV[3]) and unnoticed(tonumber(ARGV[2]))) then
  begin()
  renewals = math.max(renewals, tonumber(ARGV[3])) -- others know of about as many: once is enough
  redis.call('SET', KEYS[2], string.format('%.0f', renewals))
end
