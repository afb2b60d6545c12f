-- Decides whether a session may play. The rules are those of Client.Ask.

-- A session that was ended stays so until its viewer asks to play here.
for _, e in ipairs(others) do
  if e.kind == 'T' and e.device == me.device and e.session == me.session then
    if insist then
      remove(others, e)
      changed = true
      break
    end
    local outcome = e.told == '1' and 'waiting' or 'blocked'
    e.told, e.seen, e.till = '1', now, now + endedMS
    line(e)
    dirty = true
    return verdict(outcome, e.code, reasonBy(), e.code == 'superseded' and {old} or rivals('a'), e.by)
  end
end

-- superseded blocks the older one of two sessions of a device.
local function superseded(newer)
  remove(waiters, waited)
  finish(me, 'superseded', newer.name, true)
  local reason = reasonBy()
  decided('blocked', 'superseded', me, reason, {newer})
  return verdict('blocked', 'superseded', reason, {old}, newer.name)
end

-- Where the session stands: with rank, ahead of all that came after it; without,
-- behind everybody.
local honoured = holdGranted > 0 and holdGranted < born and now - holdGranted <= honourMS
local function heldBefore(time)
  return holdBorn > 0 and holdBorn < time
end
local outcome, rank, eventRank = 'acquired', false, false
if own then
  me.since, me.born = own.since, own.born
  rank = own.kind == 'L'
  eventRank = rank and own.event == me.event
  outcome = rank and 'renewed' or 'acquired'
  remove(leases, own)
elseif old and not insist and (heldBefore(old.born) or (waited and waited.since < old.born)) then
  return superseded(old)
elseif waiter and not insist and heldBefore(waiter.since) and (old or not honoured) then
  return superseded(waiter)
elseif old then
  me.since = old.since
  rank = old.kind == 'L'
  eventRank = rank and old.event == me.event
  outcome = 'superseded'
  remove(leases, old)
elseif honoured then
  me.since, me.born = math.min(holdSince, now), math.min(holdBorn, now)
  rank, eventRank, outcome = true, true, 'restored'
end
leases[#leases + 1] = me
local refused = over(rank, eventRank)

-- Who has to give way, if that suffices.
local gone = {}
local function giveWay(l)
  remove(leases, l)
  gone[#gone + 1] = l
  refused = over(rank, eventRank)
end
for i = 6, #ARGV do
  local device, session, lifeOf = string.match(ARGV[i], '^([^|]*)|([^|]*)|(%d+)$')
  for _, l in ipairs(refused and rivals(refused) or {}) do
    if l.device == device and l.session == session and l.born == tonumber(lifeOf) then
      giveWay(l)
      break
    end
  end
end
if refused then
  for _, l in ipairs(gone) do
    leases[#leases + 1] = l
  end
  gone = {}
  refused = over(rank, eventRank)
elseif #gone > 0 then
  outcome = 'took_over'
end
if refused and evict and not shadow and not own and outcome ~= 'restored' then
  while refused do
    giveWay(rivals(refused)[1])
  end
  outcome = 'evicted'
end

-- No more devices than can be kept. One of them that nobody blocks plays without
-- a lease.
local function tooMany()
  local n, devices = 0, {}
  for _, list in ipairs({leases, waiters}) do
    for _, e in ipairs(list) do
      n = n + (devices[e.device] and 0 or 1)
      devices[e.device] = true
    end
  end
  return n > maxDevices
end
if not (own or old or waited or waiter) and (wait or shadow or not refused) and tooMany() then
  remove(leases, me)
  for _, l in ipairs(gone) do
    leases[#leases + 1] = l
  end
  local reason = reasonBy(refused)
  dirty, changed = false, false
  if shadow then
    me.since, me.born = 0, 0
    return verdict('would_block', '', reason, {}, '')
  end
  return verdict('blocked', 'too_many_devices', reason, rivals('a'), '')
end

-- A session that waits gives way to a newer one of its device, and a lease that
-- was there before it does not.
local newer = waiter and (own or (outcome == 'restored' and heldBefore(waiter.since)))
if waiter and not newer then
  remove(waiters, waiter)
  finish(waiter, 'superseded', me.name)
end

-- asked tells whether the last thing decided about the session was to block it.
local function asked()
  local list = redis.pcall('LRANGE', KEYS[2], 0, 9)
  for _, text in ipairs(list) do
    if string.find(text, '|' .. me.device .. '|' .. me.session .. '|', 1, true) then
      return string.find(text, '|blocked|device_limit|', 1, true) ~= nil
    end
  end
  return false
end

if refused and not shadow then
  remove(leases, me)
  local reason, list = reasonBy(refused), rivals(refused)
  if old then
    leases[#leases + 1] = old
  end
  if newer then
    return superseded(waiter)
  end
  local again = waited ~= nil
  remove(waiters, waited)
  dirty = again or wait
  if wait then
    me.kind, me.since, me.born = 'W', again and waited.since or now, 0
    waiters[#waiters + 1] = line(me)
  elseif not own and not again then
    again = asked()
  end
  if not again then
    decided('blocked', 'device_limit', me, reason, list)
  end
  return verdict(again and 'waiting' or 'blocked', 'device_limit', reason, list, '')
end

-- The session plays.
if refused then
  me.kind, outcome = 'S', 'would_block'
end
local reason = reasonBy(refused)
line(me)
dirty = true
remove(waiters, waited)
if old then
  finish(old, 'superseded', me.name)
  decided('ended', 'superseded', old, nil, {me})
end
for _, l in ipairs(gone) do
  finish(l, 'taken_over', me.name)
  decided('ended', 'taken_over', l, nil, {me})
end
if outcome == 'restored' then -- the youngest have to leave what they got meanwhile
  for _, l in ipairs(rivals('a')) do
    table.insert(gone, 1, l)
  end
  for _, l in ipairs(gone) do
    local kind = over(false, false)
    if kind == 'a' or (kind == 'e' and l.event == me.event) then
      tell[l.member] = true
      if shadow then
        l.kind = 'S'
        line(l)
        decided('would_block', '', l, nil, {me})
      else
        remove(leases, l)
        decided('ended', 'device_limit', l, nil, {me})
      end
    end
  end
  gone = {}
  reason = reasonBy()
end
if not (outcome == 'renewed' or (outcome == 'would_block' and own and own.kind == 'S')) then
  decided(outcome, '', me, reason, refused and rivals(refused) or gone)
end
return verdict(outcome, '', reason, {}, '')
