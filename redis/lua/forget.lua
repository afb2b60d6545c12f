-- Deletes the records KEYS of sessions that their owner ended.
--
-- ARGV: owner, generation for each key
local n = 0
for i, key in ipairs(KEYS) do
  local cur = redis.call('GET', key)
  if cur then
    local head, _, gen, owner = string.find(cur, '^(%d+)|([^|]*)|')
    if not head or (owner == ARGV[2 * i - 1] and tonumber(gen) <= tonumber(ARGV[2 * i])) then
      redis.call('DEL', key)
      n = n + 1
    end
  end
end
return n
