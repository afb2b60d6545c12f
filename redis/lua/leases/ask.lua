-- Decides whether a session may play. The rules are those of Client.Ask.
local own, old = ask.find(account.leases)
local waited, waiter = ask.find(account.waiting)

-- A session that was ended stays so until its viewer asks to play here. It has, if
-- it was granted a lease after that and Redis forgot.
local ended = account.resume(me)
if ended and not ask.insist and not (ask.forgotten and ask.granted > string.sub(ended, 1, 13)) then
  local since, code, told, by = string.match(ended, '^(%d+)|%d+|%d+|%d+|T|[^|]*|[^|]*|([^|]*)|([^|]*)|[^|]*|([^\n]*)')
  account.finish(me, code, by, true, since)
  account.changed = #account.lapsed > 0
  return ask.verdict(told == '1' and 'waiting' or 'blocked', code, ask.reason(), code == 'superseded' and {old} or ask.rivals('a'), by)
end
account.changed = account.changed or ended ~= nil

-- Where the session stands: with rank, ahead of all that came after it; without,
-- behind everybody.
local honoured = ask.granted > never and (ask.granted < account.born or ask.forgotten) and ms - ask.granted <= honourMS
local held = not ask.insist and ask.born > never and ask.born -- when the session began to play; it does not any more
local outcome, rank, eventRank = 'acquired', false, false
if own then
  me.since, me.born = own.since, own.born
  rank = own.kind == 'L'
  eventRank = rank and own.event == me.event
  outcome = rank and 'renewed' or 'acquired'
  if rank and ask.forgotten and ask.since > never and ask.since < me.since then -- it came back as a newcomer
    me.since, me.born, outcome = ask.since, ask.born < me.born and ask.born or me.born, 'restored'
  end
  account.remove(account.leases, own)
elseif old and ((held and held <= old.born) or (waited and not ask.insist and waited.since < old.born)) then
  return ask.superseded(waited, old, {old})
elseif waiter and held and held <= waiter.since and (old or not honoured) then
  return ask.superseded(waited, waiter, {old})
elseif old then
  me.since = old.since
  rank = old.kind == 'L'
  eventRank = rank and old.event == me.event
  outcome = 'superseded'
  account.remove(account.leases, old)
elseif honoured then
  me.since, me.born = ask.since < now and ask.since or now, ask.born < now and ask.born or now
  rank, eventRank, outcome = true, true, 'restored'
end
table.insert(account.leases, me)
local refused = ask.over(rank, eventRank)

-- Who has to give way, if that suffices: those that the viewer named, or the
-- oldest.
local gone = {}
for i = 5, #ARGV do
  local device, session, lifeOf = string.match(ARGV[i], '^([^|]*)|([^|]*)|(%d+)$')
  for _, l in ipairs(refused and ask.rivals(refused) or {}) do
    if l.device == device and l.session == session and l.born == lifeOf then
      table.insert(gone, account.remove(account.leases, l))
      refused = ask.over(rank, eventRank)
      break
    end
  end
end
if #gone > 0 and not refused then
  outcome = 'took_over'
elseif #gone > 0 then
  for _, l in ipairs(gone) do
    table.insert(account.leases, l)
  end
  gone = {}
  refused = ask.over(rank, eventRank)
end
if refused and ask.evict and not ask.shadow and not own and outcome ~= 'restored' then
  while refused do
    table.insert(gone, account.remove(account.leases, ask.rivals(refused)[1]))
    refused = ask.over(rank, eventRank)
  end
  outcome = 'evicted'
end

-- No more devices than can be kept. One too many that nobody blocks plays without
-- a lease.
local stored = ask.wait or ask.shadow or not refused
if stored and not (own or old or waited or waiter) and ask.tooMany() then
  account.remove(account.leases, me)
  for _, l in ipairs(gone) do
    table.insert(account.leases, l)
  end
  account.dirty, account.changed = account.corrupt, false
  local reason = ask.reason(refused)
  if ask.shadow then
    me.since, me.born = never, never
    return ask.verdict('would_block', '', reason, {}, '')
  end
  return ask.verdict('blocked', 'too_many_devices', reason, ask.rivals('a'), '')
end

-- A session that waits gives way to a newer one of its device; a lease that was
-- there before it does not disturb it.
local newer = waiter and (own or (outcome == 'restored' and held and held <= waiter.since))
if waiter and not newer then
  account.remove(account.waiting, waiter)
  account.finish(waiter, 'superseded', me.name)
end

if refused and not ask.shadow then
  account.remove(account.leases, me)
  local reason, rivals = ask.reason(refused), ask.rivals(refused)
  if old then
    table.insert(account.leases, old)
  end
  if newer then
    return ask.superseded(waited, waiter, {})
  end
  local again = waited ~= nil
  account.remove(account.waiting, waited)
  account.dirty = account.dirty or again or ask.wait
  if ask.wait then
    me.kind, me.since, me.born = 'W', again and waited.since or now, never
    table.insert(account.waiting, account.line(me))
  elseif not own and not again then
    again = ask.blockedLast()
  end
  if not again then
    account.decided('blocked', 'device_limit', me, reason, rivals)
  end
  return ask.verdict(again and 'waiting' or 'blocked', 'device_limit', reason, rivals, '')
end

-- The session plays.
if refused then
  me.kind, outcome = 'S', 'would_block'
end
account.line(me)
account.dirty = true
account.remove(account.waiting, waited)
if old then
  account.finish(old, 'superseded', me.name)
  account.decided('ended', 'superseded', old, nil, {me})
end
for _, l in ipairs(gone) do
  account.finish(l, 'taken_over', me.name)
  account.decided('ended', 'taken_over', l, nil, {me})
end
if outcome == 'restored' then -- the youngest have to leave what they got meanwhile
  local rivals = ask.rivals('a')
  for i = #rivals, 1, -1 do
    local l, kind = rivals[i], ask.over()
    if kind == 'a' or (kind == 'e' and l.event == me.event) then
      account.remove(account.leases, l)
      account.tell[l.member] = true
      if ask.shadow then
        table.insert(account.leases, account.line({
          kind = 'S', since = l.since, born = l.born, seen = l.seen, till = l.till, device = l.device, session = l.session,
          member = l.member, network = l.network, event = l.event, name = l.name,
        }))
        account.decided('would_block', '', l, nil, {me})
      else
        account.decided('ended', 'device_limit', l, nil, {me})
      end
    end
  end
end
local reason = ask.reason(refused)
if not (outcome == 'renewed' or (outcome == 'would_block' and own and own.kind == 'S')) then
  account.decided(outcome, '', me, reason, refused and ask.rivals(refused) or gone)
end
return ask.verdict(outcome, '', reason, {}, '')
