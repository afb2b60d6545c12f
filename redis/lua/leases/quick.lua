-- The quick way of a renewal, which is by far the most common ask: nothing of
-- the lease but its times changes, no lease lapsed, and there are no more than
-- the terms allow, so that nobody's rank matters. It writes these times where
-- they stand and parses nothing. What else is over (who waited, who was ended)
-- goes with the next change. state.lua says what is where.
--
-- Returns '+', now, until, since, born, count|shared.
if type(raw) == 'string' and string.sub(raw, 1, 2) == '1|' then
  local at = string.find(raw, ARGV[1], 1, true)
  local above = (tonumber(string.sub(raw, 31, 33)) or 1000) - tonumber(ARGV[3])
  if at and (above <= 0 or (above <= tonumber(ARGV[4]) and above <= (tonumber(string.sub(raw, 35, 37)) or 0))) then
    local times = string.format('%013.0f%013.0f', now, now + tonumber(ARGV[2]))
    local stamp, next = string.sub(times, 1, 13), string.sub(raw, 17, 29)
    if next <= stamp then -- some leases were renewed since: look at all of them
      next = '9999999999999'
      for all in string.gmatch(raw, '\n(%d+)|[LS]|') do
        local till = string.sub(all, -13)
        if till < next then
          next = till
        end
      end
    end
    if next > stamp then
      redis.call('SET', KEYS[1], string.sub(raw, 1, 16) .. next .. string.sub(raw, 30, at - 27)
        .. times .. string.sub(raw, at), 'PX', stateMS)
      return '+' .. times .. string.sub(raw, at - 52, at - 27) .. string.sub(raw, 31, 37)
    end
  end
end
