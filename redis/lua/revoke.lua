-- Keeps revocations, and forgets those that are over by both clocks. One that is there is
-- extended, never shortened. The field "v" is changed whenever another is. Returns
-- 0 if there is no room for all of them, else 1.
--
-- KEYS[1]: the revocations. ARGV: how many are kept, the wall clock in ms, then the
-- name, before and until of each
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local over = math.min(now, tonumber(ARGV[2]))
local known, count, version, last = {}, 0, 0, over
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local _, _, before, till = string.find(all[i + 1], '^(%d+) (%d+)$')
  if all[i] == 'v' then
    version = tonumber(all[i + 1])
  elseif not before or tonumber(till) <= over then
    redis.call('HDEL', KEYS[1], all[i])
  else
    known[all[i]] = {tonumber(before), tonumber(till)}
    count, last = count + 1, math.max(last, tonumber(till))
  end
end

local changed, room = false, 1
for i = 3, #ARGV, 3 do
  local before, till = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local old = known[ARGV[i]]
  if old then
    before, till = math.max(before, old[1]), math.max(till, old[2])
  end
  if not old and count >= tonumber(ARGV[1]) then
    room = 0
  elseif till > over and not (old and before == old[1] and till == old[2]) then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f %.0f', before, till))
    if not old then
      count = count + 1
    end
    changed, last = true, math.max(last, till)
  end
end
if changed then
  redis.call('HSET', KEYS[1], 'v', string.format('%.0f', math.max(now, version + 1)))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', last - over))
end
return room
