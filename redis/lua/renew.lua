-- Renews the lease of a member and tells it who else there is.
-- Returns {now, boot, events version, then id, joined, seen, JSON for each}.
--
-- KEYS: members, boot, events version, statuses. ARGV: id, JSON, ms that the dead
-- stay listed, TTL ms, a random name for the data set should it need one, what
-- the member says of itself (empty: nothing), when it renewed last (0: never)
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local stamp = string.format('%.0f', now)

local found = redis.call('MGET', KEYS[2], KEYS[3])
local boot, version = found[1], found[2] or '0'
if not boot then
  boot = ARGV[5] .. ' ' .. stamp
  redis.call('SET', KEYS[2], boot)
end
local began = tonumber(string.match(boot, ' (%d+)$')) or 0

local joined, reply, lost = stamp, {stamp, boot, version}, false
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local _, _, j, seen, json = string.find(all[i + 1], '^(%d+) (%d+) (.*)$')
  if all[i] == ARGV[1] then
    joined = j or stamp
    lost = j and tonumber(seen) < tonumber(ARGV[7]) and began <= tonumber(ARGV[7])
  elseif not j or tonumber(seen) + tonumber(ARGV[3]) < now then
    redis.call('HDEL', KEYS[1], all[i])
    redis.call('HDEL', KEYS[4], all[i])
  else
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = all[i], j, seen, json
  end
end
if lost then
  -- The last renewal is not there: what was written since the one that is was
  -- lost in a failover, and nobody has noticed before.
  reply[2] = ARGV[5] .. ' ' .. stamp
  redis.call('SET', KEYS[2], reply[2])
end
redis.call('HSET', KEYS[1], ARGV[1], joined .. ' ' .. stamp .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[6])
  redis.call('PEXPIRE', KEYS[4], ARGV[4])
end
local n = #reply
reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = ARGV[1], joined, stamp, ARGV[2]
return reply
