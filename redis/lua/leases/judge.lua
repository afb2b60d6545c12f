-- What an ask says, and how its session stands among the others.
--
-- ARGV: the session's line from |L| on, lease ms, then for the quick way a limit
-- and a household; 'flags|household|limit|limit of the event|since|born|granted|
-- rule'; then 'device|session|born' for each lease to be ended
local me = {kind = 'L', line = '', since = now, born = now, seen = now, till = now + tonumber(ARGV[2])}
me.device, me.session, me.member, me.network, me.event, me.name =
  string.match(ARGV[1], '^|L|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)\n$')
local flags, household, limit, eventLimit, holdSince, holdBorn, holdGranted, rule =
  string.match(ARGV[5], '^(%l*)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
household, limit, eventLimit = tonumber(household), tonumber(limit), tonumber(eventLimit)
holdSince, holdBorn, holdGranted = tonumber(holdSince), tonumber(holdBorn), tonumber(holdGranted)

local function flag(char)
  return string.find(flags, char, 1, true) ~= nil
end
local evict, shadow, insist, wait = flag('e'), flag('s'), flag('i'), flag('w')

-- find returns the entry of the session in a list, and that of another session
-- of its device.
local function find(list)
  local mine, other
  for _, e in ipairs(list) do
    if e.device == me.device then
      if e.session == me.session then
        mine = e
      else
        other = e
      end
    end
  end
  return mine, other
end
local own, old = find(leases)
local waited, waiter = find(waiters)

-- streams returns how many of the leases count towards the account's limit and
-- towards the event's: with rank only me and those before me, with eventRank
-- likewise of the event. Those behind one network with another do not count
-- towards the account's, up to household.
local function streams(rank, eventRank)
  local n, ofEvent, shared, networks = 0, 0, 0, {}
  for _, l in ipairs(leases) do
    if l.kind == 'L' then
      local ahead = l == me or before(l, me)
      if ahead or not rank then
        n = n + 1
        if networks[l.network] then
          shared = shared + 1
        elseif l.network ~= '' then
          networks[l.network] = true
        end
      end
      if l.event == me.event and (ahead or not eventRank) then
        ofEvent = ofEvent + 1
      end
    end
  end
  return n - math.min(household, shared), ofEvent
end

-- over returns the rule by which the leases are too many: 'a' for the account's
-- limit, 'e' for the event's.
local function over(rank, eventRank)
  local n, ofEvent = streams(rank, eventRank)
  if limit > 0 and n > limit then
    return 'a'
  elseif eventLimit > 0 and ofEvent > eventLimit then
    return 'e'
  end
end

-- rivals returns the leases that count by a rule, oldest first.
local function rivals(kind)
  local list = {}
  for _, l in ipairs(leases) do
    if l.kind == 'L' and l ~= me and (kind == 'a' or l.event == me.event) then
      list[#list + 1] = l
    end
  end
  table.sort(list, before)
  return list
end

-- reasonBy returns a rule with its limit and the streams that count now.
local function reasonBy(kind)
  kind = kind or (limit == 0 and eventLimit > 0 and 'e' or 'a')
  local n, ofEvent = streams(false, false)
  if kind == 'e' then
    return {kind = kind, rule = 'event:' .. me.event, limit = eventLimit, current = ofEvent}
  end
  return {kind = kind, rule = rule, limit = limit, current = n}
end

-- verdict writes what was changed and returns the reply: outcome, code, kind of
-- rule, streams, now, since, born, until, when a place becomes free, the name of
-- who took the place; a line for each rival; the news.
local function verdict(outcome, code, reason, list, by)
  local since, first, till, free = me.since, me.born, me.till, 0
  if code ~= '' then
    since, first, till = 0, 0, 0
  end
  local lines = {''}
  for _, l in ipairs(list) do
    if code == 'device_limit' or code == 'too_many_devices' then
      free = free == 0 and l.till or math.min(free, l.till)
    end
    lines[#lines + 1] = l.line
  end
  lines[1] = string.format('%s|%s|%s|%d|%.0f|%.0f|%.0f|%.0f|%.0f|%s\n',
    outcome, code, reason.kind, reason.current, now, since, first, till, free, by)
  lines[#lines + 1] = news()
  return table.concat(lines)
end
