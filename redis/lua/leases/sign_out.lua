-- Ends all sessions of a device. Returns how many there were, and the news.
--
-- ARGV: device, ms within which the same is answered again
local n = 0
for _, list in ipairs({leases, waiters}) do
  for i = #list, 1, -1 do
    local e = list[i]
    if e.device == ARGV[1] then
      table.remove(list, i)
      finish(e, 'signed_out', '')
      decided('signed_out', 'signed_out', e, nil, {})
      n = n + 1
    end
  end
end
if n == 0 then -- perhaps the first reply was lost
  for _, e in ipairs(others) do
    if e.kind == 'T' and e.device == ARGV[1] and e.code == 'signed_out' and e.since > now - tonumber(ARGV[2]) then
      n = n + 1
    end
  end
end
return n .. '\n' .. news()
