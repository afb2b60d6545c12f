-- Frees the place of a session that ended, playing or waiting, unless it belongs
-- to another member by now.
--
-- ARGV: device, session, member ('': any)
for _, list in ipairs({account.leases, account.waiting}) do
  for i = #list, 1, -1 do
    local e = list[i]
    if e.device == ARGV[1] and e.session == ARGV[2] and (ARGV[3] == '' or e.member == ARGV[3]) then
      table.remove(list, i)
      account.decided('left', '', e, nil, {})
    end
  end
end
return account.news()
