-- Has a member told of every change of the account. Returns the news.
--
-- ARGV: member, ms
for _, e in ipairs(account.others) do
  if e.kind == 'A' and e.member == ARGV[1] then
    account.remove(account.others, e)
    break
  end
end
account.keep({kind = 'A', device = '', session = '', member = ARGV[1], network = '', event = '', name = '',
  since = never, born = never, seen = never, till = ms + ARGV[2] .. ''}, maxWatchers)
account.dirty = true
return account.news()
