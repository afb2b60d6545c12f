-- The quick way of a renewal, which is by far the most common ask: nothing of
-- the lease but its times changes, no lease lapsed, and there are no more than
-- the terms allow, so that nobody's rank matters. It writes the times where they
-- stand and parses nothing. What else is over (who waited, who was ended) goes
-- with the next change. state.lua says what is where.
--
-- Most of the time the key's end is not moved. It is when 'next' has passed, so
-- that the state lives longer than HonourMS after any renewal nevertheless.
--
-- Returns '+', then now|until|since|born|count|shared.
if raw and string.sub(ARGV[4], 5, 5) ~= 'f' then
  local sub = string.sub
  local at = string.find(raw, ARGV[1], 1, true)
  local quick = at and sub(raw, 31, 33) <= ARGV[3]
  if at and not quick then -- those of the household that do not count
    local count, shared = tonumber(sub(raw, 31, 33)), tonumber(sub(raw, 35, 37))
    local household = string.match(ARGV[4], '^.....|(%d+)|%d+|0|')
    quick = household and count and shared and count - math.min(household, shared) <= ARGV[3] + 0
  end
  if quick then
    local times, next = now .. '|' .. ms + ARGV[2], sub(raw, 17, 29)
    if next > now then
      redis.call('SETRANGE', KEYS[1], at - 28, times)
    else -- some were renewed since: look at all of them
      next = '9999999999999'
      for till in string.gmatch(raw, '|(%d+)|[LS]|') do
        if till < next then
          next = till
        end
      end
      if next > now then
        redis.call('SET', KEYS[1], sub(raw, 1, 16) .. next .. sub(raw, 30, at - 28) .. times .. sub(raw, at), 'PX', stateMS)
      end
    end
    if next > now then
      return '+' .. times .. '|' .. sub(raw, at - 55, at - 29) .. '|' .. sub(raw, 31, 37)
    end
  end
end
