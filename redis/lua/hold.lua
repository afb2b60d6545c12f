-- Renews an aggregator's leases of shards, gives up what exceeds its fair share
-- and takes what is free. Returns now and the shards that it holds, until lease ms
-- from now if it hears that.
--
-- An aggregator that has not heard an answer for longer than a lease would renew
-- what it cannot use, over a network that is slower than its patience. It is
-- given and renewed nothing and told so: {now, -1}. Having heard that, it asks
-- again.
--
-- KEYS[1]: the leases. ARGV: aggregator, lease ms, number of shards, TTL ms, the
-- now of the last answer that it heard
--
-- A field "@<aggregator>" is the time until which that one counts as alive, a
-- field <shard> is "<until> <aggregator>". So the share of one that stopped
-- asking is divided at the same moment as its leases run out.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local lease, heard = tonumber(ARGV[2]), tonumber(ARGV[5])
if now - heard > lease then
  return {now, -1}
end
local me, shards = ARGV[1], tonumber(ARGV[3])
-- It asks each second. One that did not hear the last answers gets no more than
-- if it had not asked since.
local till = string.format('%.0f', math.min(now, heard + 1000) + lease)

local alive, owner, ends = 1, {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  if string.sub(field, 1, 1) ~= '@' then
    local _, _, u, o = string.find(value, '^(%d+) (.*)$')
    owner[field], ends[field] = o, tonumber(u)
  elseif field ~= '@' .. me then
    if tonumber(value) > now then
      alive = alive + 1
    else
      redis.call('HDEL', KEYS[1], field)
    end
  end
end

local fair = math.ceil(shards / alive)
local mine = {}
for s = 0, shards - 1 do
  local field = tostring(s)
  if owner[field] == me then
    if #mine < fair then
      mine[#mine + 1] = s
    else
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
for s = 0, shards - 1 do
  local field = tostring(s)
  if #mine < fair and owner[field] ~= me and (not owner[field] or ends[field] <= now) then
    mine[#mine + 1] = s
  end
end

local leases, answer = {'@' .. me, till}, {now}
for _, s in ipairs(mine) do
  answer[#answer + 1] = s
  leases[#leases + 1], leases[#leases + 2] = tostring(s), till .. ' ' .. me
end
redis.call('HSET', KEYS[1], unpack(leases))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return answer
