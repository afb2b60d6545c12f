-- Ends all sessions of a device. Returns how many there were, and the news.
--
-- ARGV: device, ms within which the same is answered again
local n, recent = 0, ms - ARGV[2] .. ''
for _, list in ipairs({account.leases, account.waiting}) do
  for i = #list, 1, -1 do
    local e = list[i]
    if e.device == ARGV[1] then
      table.remove(list, i)
      account.finish(e, 'signed_out', '')
      account.decided('signed_out', 'signed_out', e, nil, {})
      n = n + 1
    end
  end
end
if n == 0 then -- perhaps the first reply was lost
  for since, device, code in string.gmatch(account.ended, '(%d+)|%d+|%d+|%d+|T|([^|]*)|[^|]*|([^|]*)|') do
    if device == ARGV[1] and code == 'signed_out' and since > recent then
      n = n + 1
    end
  end
end
return n .. '\n' .. account.news()
