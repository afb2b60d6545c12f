-- Frees the place of a session that ended, and waits for it no more, unless it
-- belongs to another member by now.
--
-- ARGV: device, session, member
local changed = corrupt or #lapsed > 0
for _, list in ipairs({leases, waiters}) do
  for i = #list, 1, -1 do
    local e = list[i]
    if e.device == ARGV[1] and e.session == ARGV[2] and e.member == ARGV[3] then
      table.remove(list, i)
      changed = true
      decided('left', e, '', nothing, {})
    end
  end
end
if changed then
  write()
  note()
end
return told({})
