-- Has a member told of every change of the account. Returns the news.
--
-- ARGV: member, ms
local a = {kind = 'A', device = '', session = '', member = ARGV[1], network = '', event = '', name = '',
  since = never, born = never, seen = never, till = ms + ARGV[2] .. ''}
local first
for _, x in ipairs(account.watching) do
  if x.member == a.member then
    account.remove(account.watching, x)
    break
  elseif not first or x.till < first.till then
    first = x
  end
end
if #account.watching == maxWatchers then
  account.remove(account.watching, first)
end
table.insert(account.watching, account.line(a))
account.dirty = true
return account.news()
