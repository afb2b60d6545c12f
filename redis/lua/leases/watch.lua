-- Has a member told of every change of the account. Returns the news.
--
-- ARGV: member, ms
for _, e in ipairs(others) do
  if e.kind == 'A' and e.member == ARGV[1] then
    remove(others, e)
    break
  end
end
others[#others + 1] = line({kind = 'A', member = ARGV[1], till = now + tonumber(ARGV[2])})
dirty = true
return news()
