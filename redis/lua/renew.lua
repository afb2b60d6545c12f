-- Renews the lease of a member and tells it who else there is.
-- Returns {now, boot, events version, renewals, then id, joined, seen, JSON for
-- each}.
--
-- KEYS: boot, renewals, members, events version, statuses. ARGV: those of
-- life.lua, id, JSON, ms that the dead stay listed, TTL ms, what the member says of
-- itself (empty: nothing), when it renewed last (0: never)
local id, json, listed, ttl, status, last = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9], tonumber(ARGV[10])
renewals = string.format('%.0f', renewals + 1)
redis.call('SET', KEYS[2], renewals)
local version = redis.call('GET', KEYS[4]) or '0'

local joined, reply = stamp, {stamp, boot, version, renewals}
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local _, _, j, seen, text = string.find(all[i + 1], '^(%d+) (%d+) (.*)$')
  if all[i] == id then
    joined = j or stamp
    if j and tonumber(seen) < last and last <= now and unnoticed(last) then
      -- The last renewal is not there: so few writes are missing that others have
      -- renewed more often since than is missing. (Of a clock that was set back
      -- this tells nothing.)
      begin()
      reply[2] = boot
    end
  elseif not j or tonumber(seen) + listed < now then
    redis.call('HDEL', KEYS[3], all[i])
    redis.call('HDEL', KEYS[5], all[i])
  else
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = all[i], j, seen, text
  end
end
redis.call('HSET', KEYS[3], id, joined .. ' ' .. stamp .. ' ' .. json)
redis.call('PEXPIRE', KEYS[3], ttl)
if status ~= '' then
  redis.call('HSET', KEYS[5], id, status)
  redis.call('PEXPIRE', KEYS[5], ttl)
end
local n = #reply
reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = id, joined, stamp, json
return reply
