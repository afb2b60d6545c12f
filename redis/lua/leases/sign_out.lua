-- Ends all sessions of a device. The first line of the reply is how many.
--
-- ARGV: device, ms within which the same is answered again
local ended = 0
for _, list in ipairs({leases, waiters}) do
  for i = #list, 1, -1 do
    local e = list[i]
    if e.device == ARGV[1] then
      table.remove(list, i)
      finish(e, 'signed_out', '')
      tell[e.member] = true
      decided('signed_out', e, 'signed_out', nothing, {})
      ended = ended + 1
    end
  end
end
if ended > 0 or corrupt or #lapsed > 0 then
  write()
  note()
else -- asked again: the first reply was lost
  for _, e in ipairs(others) do
    if e.kind == 'T' and e.device == ARGV[1] and e.code == 'signed_out' and e.at > now - tonumber(ARGV[2]) then
      ended = ended + 1
    end
  end
end
return told({ended .. '\n'})
