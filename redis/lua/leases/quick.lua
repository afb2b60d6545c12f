-- The quick way of a renewal, for by far the most asks: nothing of the lease but
-- its times changes, no lease lapsed, and there are no more leases than the
-- terms allow. It changes these times where they stand and parses nothing; what
-- else lapsed (waiters, ended sessions) stays for the next change.
if type(raw) == 'string' and string.sub(raw, 1, 2) == '1|' then
  local at = string.find(raw, ARGV[1], 1, true)
  if at and (tonumber(string.sub(raw, 31, 33)) or 1000) <= tonumber(ARGV[3]) then
    local times = string.format('%013.0f%013.0f', now, now + tonumber(ARGV[2]))
    local stamp, next = string.sub(times, 1, 13), string.sub(raw, 17, 29)
    if next <= stamp then
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
      return '+' .. times .. string.sub(raw, at - 52, at - 27) .. string.sub(raw, 31, 33)
    end
  end
end
