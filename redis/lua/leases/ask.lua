-- Decides whether a session may play: DECISIONS of the package's leases.go.
--
-- ARGV: its line from |L| on, lease ms, the number of leases up to which a
-- renewal needs no judgement, 'flags|household|limit|limit of the event|since|
-- born|granted|rule', then 'device|session|born' of leases to be ended
local me = {kind = 'L', seen = now, till = now + tonumber(ARGV[2])}
me.device, me.session, me.member, me.address, me.event, me.name =
  string.match(ARGV[1], '^|L|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)\n$')
local flags, household, limit, elimit, hsince, hborn, hgranted, rule =
  string.match(ARGV[4], '^(%a*)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
household, limit, elimit = tonumber(household), tonumber(limit), tonumber(elimit)
hsince, hborn, hgranted = tonumber(hsince), tonumber(hborn), tonumber(hgranted)
local evict, shadow = string.find(flags, 'e', 1, true), string.find(flags, 's', 1, true)
local insist, wait = string.find(flags, 'i', 1, true), string.find(flags, 'w', 1, true)

-- The lease of the session, that of another session of its device, and the same
-- of those who wait.
local own, old, mine, other
for _, l in ipairs(leases) do
  if l.device == me.device then
    if l.session == me.session then own = l else old = l end
  end
end
for _, w in ipairs(waiters) do
  if w.device == me.device then
    if w.session == me.session then mine = w else other = w end
  end
end

-- counted returns those leases that count by a rule ('a' the account's limit,
-- 'e' the event's), oldest first, and the number that is compared with it.
local function counted(kind)
  local list = {}
  for _, l in ipairs(leases) do
    if l.kind == 'L' and l ~= me and (kind == 'a' or l.event == me.event) then
      list[#list + 1] = l
    end
  end
  table.sort(list, before)
  return list
end

local function current(kind)
  local list = counted(kind)
  for _, l in ipairs(leases) do
    if l == me and me.kind == 'L' then
      list[#list + 1] = me
    end
  end
  return kind == 'a' and streams(list, household) or #list
end

local function why(kind)
  if kind == 'e' then
    return {kind = 'e', rule = 'event:' .. me.event, limit = elimit, current = current('e')}
  end
  return {kind = 'a', rule = rule, limit = limit, current = current('a')}
end

local mainly = (limit == 0 and elimit > 0) and 'e' or 'a'

local function reply(outcome, code, reason, rivals, by)
  local free = 0
  for _, l in ipairs(rivals) do
    free = (free == 0 or l.till < free) and l.till or free
  end
  local lines = {table.concat({outcome, code, reason.kind, reason.current, stamp(now),
    stamp(code == '' and me.since or 0), stamp(code == '' and me.born or 0), stamp(code == '' and me.till or 0), stamp(free), by}, '|') .. '\n'}
  for _, l in ipairs(rivals) do
    lines[#lines + 1] = l.line
  end
  return told(lines)
end

-- over returns the rule that has no place for l among the leases, nil if none.
-- With rank only those count that come before it, with erank only those of its
-- event that do.
local function over(l, rank, erank)
  local list, n = {}, 0
  for _, x in ipairs(leases) do
    if x.kind == 'L' then
      local ahead = x == l or before(x, l)
      if ahead or not rank then
        list[#list + 1] = x
      end
      if x.event == l.event and (ahead or not erank) then
        n = n + 1
      end
    end
  end
  if limit > 0 and streams(list, household) > limit then
    return 'a'
  elseif elimit > 0 and n > elimit then
    return 'e'
  end
end

local function member(e)
  tell[e.member] = true
end

-- superseded has the session not play: the device does in another one.
local function superseded(reason)
  if own then
    remove(leases, own)
  end
  if mine then
    remove(waiters, mine)
  end
  finish(me, 'superseded', me.name)
  others[#others].told = '1'
  line(others[#others])
  decided('blocked', me, 'superseded', reason, {old or other})
  write()
  note()
  return reply('blocked', 'superseded', reason, {old}, me.name)
end

-- A session that was ended stays so until its viewer asks.
for _, e in ipairs(others) do
  if e.kind == 'T' and e.device == me.device and e.session == me.session then
    if insist then
      remove(others, e)
      break
    end
    local outcome = e.told == '1' and 'waiting' or 'blocked'
    e.told, e.till = '1', now + endedMS
    line(e)
    write()
    note()
    local rivals = counted('a')
    if e.code == 'superseded' then
      rivals = {old}
    end
    return reply(outcome, e.code, why(mainly), rivals, e.by)
  end
end

-- Where the session stands among the others.
local honoured = hgranted > 0 and hgranted < born and now - hgranted <= honourMS
local outcome, rank, erank = 'acquired', false, false
if own then
  outcome, me.since, me.born = 'renewed', own.since, own.born
  rank = own.kind == 'L'
  erank = rank and own.event == me.event
  if own.kind == 'S' then
    outcome = 'acquired'
  end
  remove(leases, own)
elseif not insist and ((old and ((hborn > 0 and hborn < old.born) or (mine and mine.since < old.born)))
  or (not old and other and hborn > 0 and hborn < other.since and not honoured)) then
  return superseded(why(mainly))
elseif old then
  outcome, me.since, me.born = 'superseded', old.since, now
  rank = old.kind == 'L'
  erank = rank and old.event == me.event
  remove(leases, old)
elseif honoured then
  outcome, me.since, me.born = 'restored', math.min(hsince, now), math.min(hborn, now)
  rank, erank = true, true
else
  me.since, me.born = now, now
end
leases[#leases + 1] = me

-- Who has to give way.
local gone = {}
local function giveWay(l)
  remove(leases, l)
  gone[#gone + 1] = l
end
local function stay()
  for _, l in ipairs(gone) do
    leases[#leases + 1] = l
  end
  gone = {}
end
local refused = over(me, rank, erank)
for i = 5, #ARGV do
  if not refused then
    break
  end
  local device, session, b = string.match(ARGV[i], '^([^|]*)|([^|]*)|(%d+)$')
  for _, l in ipairs(counted(refused)) do
    if l.device == device and l.session == session and l.born == tonumber(b) then
      giveWay(l)
      refused = over(me, rank, erank)
      break
    end
  end
end
if #gone > 0 then
  if refused then
    stay()
    refused = over(me, rank, erank)
  else
    outcome = 'took_over'
  end
end
local reason = why(refused or mainly)
if refused and shadow then
  me.kind = 'S'
  reason = why(refused)
elseif refused and evict and not own and outcome ~= 'restored' then
  while refused do
    giveWay(counted(refused)[1])
    refused = over(me, rank, erank)
  end
  outcome = 'evicted'
end

-- No more devices than can be kept.
local function tooMany()
  if own or old or mine or other then
    return false
  end
  local n, devices = 0, {}
  for _, list in ipairs({leases, waiters}) do
    for _, e in ipairs(list) do
      if not devices[e.device] and (e ~= me or wait or not refused or shadow) then
        devices[e.device] = true
        n = n + 1
      end
    end
  end
  return n > maxDevices
end
if tooMany() then
  remove(leases, me)
  stay()
  tell, entries = {}, {}
  if shadow then
    me.since, me.born = 0, 0
    return reply('would_block', '', reason, {}, '')
  end
  local rivals = counted('a')
  return reply('blocked', 'too_many_devices', why('a'), rivals, '')
end

if refused and not shadow then
  remove(leases, me)
  if old then
    leases[#leases + 1] = old
  end
  if own and other then
    own = nil
    return superseded(reason)
  end
  if other then
    remove(waiters, other)
    finish(other, 'superseded', me.name)
    member(other)
  end
  local was = mine ~= nil
  if mine then
    remove(waiters, mine)
  end
  local rivals = counted(refused)
  if old then
    remove(rivals, old)
  end
  reason = {kind = refused, rule = reason.rule, limit = reason.limit,
    current = refused == 'a' and streams(rivals, household) or #rivals}
  if wait then
    waiters[#waiters + 1] = line({kind = 'W', device = me.device, session = me.session, member = me.member, address = me.address,
      event = me.event, name = me.name, since = mine and mine.since or now, born = 0, seen = now, till = me.till})
  end
  if own then
    taken = count() -- nobody gets the place that there is no more
  end
  if not was then
    decided('blocked', me, 'device_limit', reason, rivals)
  end
  write()
  note()
  return reply(was and 'waiting' or 'blocked', 'device_limit', reason, rivals, '')
end

-- The session plays.
local again = own and (outcome == 'renewed' or (me.kind == 'S' and own.kind == 'S'))
if me.kind == 'S' then
  again = own and own.kind == 'S'
  outcome = 'would_block'
end
line(me)
if mine then
  remove(waiters, mine)
end
if other and not own and not (outcome == 'restored' and hborn < other.since) then
  remove(waiters, other)
  finish(other, 'superseded', me.name)
  member(other)
end
if old then
  finish(old, 'superseded', me.name)
  member(old)
end
for _, l in ipairs(gone) do
  finish(l, 'taken_over', me.name)
  member(l)
end
local cut = {}
if outcome == 'restored' then
  table.sort(leases, before)
  for i = #leases, 1, -1 do
    local l = leases[i]
    if l ~= me and l.kind == 'L' then
      local kind = over(l, true, true)
      if kind == 'a' or (kind == 'e' and l.event == me.event) then
        member(l)
        if shadow then
          l.kind = 'S'
          line(l)
        else
          table.remove(leases, i)
          cut[#cut + 1] = l
        end
      end
    end
  end
end
reason = me.kind == 'S' and reason or why(mainly)
if not again then
  local rivals = gone
  if me.kind == 'S' then
    rivals = counted(reason.kind)
  end
  for _, l in ipairs(gone) do
    decided('ended', l, 'taken_over', nothing, {me})
  end
  if old then
    decided('ended', old, 'superseded', nothing, {me})
  end
  for _, l in ipairs(cut) do
    decided('ended', l, 'device_limit', nothing, {me})
  end
  decided(outcome, me, '', reason, rivals)
end
write()
note()
return reply(outcome, '', reason, {}, '')
