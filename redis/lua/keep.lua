-- Writes the records KEYS again, unless somebody else owns a session now.
-- Returns the indices (from 1) of those.
--
-- ARGV: TTL ms, then owner, generation, record for each key
local lost, held = {}, redis.call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
  local owner, gen, record = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local keep = true
  local cur = held[i]
  local head, cgen, cowner, _
  if cur then
    head, _, cgen, cowner = string.find(cur, '^(%d+)|([^|]*)|')
  end
  if head and cowner ~= owner and tonumber(cgen) >= tonumber(gen) then
    lost[#lost + 1] = i
    keep = false
  elseif head and cowner == owner and tonumber(cgen) > tonumber(gen) then
    -- a later claim of the same owner: its next keep will say so
    redis.call('PEXPIRE', key, ARGV[1])
    keep = false
  end
  if keep then
    redis.call('SET', key, gen .. '|' .. owner .. '|0|0||' .. #record .. '|' .. record, 'PX', ARGV[1])
  end
end
return lost
