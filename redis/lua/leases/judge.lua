-- What an ask says, and how its session stands among the others.
--
-- ARGV: the session's line from |L| on; lease ms; a limit in 3 digits for the
-- quick way; 'flags|household|limit|limit of the event|since|born|granted|rule',
-- the flags e(vict), s(hadow), i(nsist), w(ait), f(orgotten: the hold may be of
-- what Redis lost) or - in this order, the times those of the hold; then for each lease to be ended 'device|session|born'
local me = {kind = 'L', line = '', since = now, born = now, seen = now, till = ms + ARGV[2] .. ''}
me.device, me.session, me.member, me.network, me.event, me.name =
  string.match(ARGV[1], '^|L|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)\n$')
local e, s, i, w, f, household, limit, eventLimit, since, born, granted, rule =
  string.match(ARGV[4], '^(.)(.)(.)(.)(.)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
local ask = {
  me = me, evict = e == 'e', shadow = s == 's', insist = i == 'i', wait = w == 'w', forgotten = f == 'f',
  household = household + 0, limit = limit + 0, eventLimit = eventLimit + 0, rule = rule,
  since = since, born = born, granted = granted,
}

-- find returns the entry of the session in a list, and that of another session
-- of its device.
function ask.find(list)
  local mine, other
  for _, e in ipairs(list) do
    if e.device == ask.me.device then
      if e.session == ask.me.session then
        mine = e
      else
        other = e
      end
    end
  end
  return mine, other
end

-- streams returns how many of the leases count towards the account's limit and
-- towards the event's: with rank only me and those before me, with eventRank
-- likewise of the event. Those behind one network with another do not count
-- towards the account's, up to the household.
function ask.streams(rank, eventRank)
  local n, ofEvent, shared, networks = 0, 0, 0, {}
  for _, l in ipairs(account.leases) do
    if l.kind == 'L' then
      local ahead = l == ask.me or not (rank or eventRank) or account.before(l, ask.me)
      if ahead or not rank then
        n = n + 1
        if networks[l.network] then
          shared = shared + 1
        elseif l.network ~= '' then
          networks[l.network] = true
        end
      end
      if l.event == ask.me.event and (ahead or not eventRank) then
        ofEvent = ofEvent + 1
      end
    end
  end
  return n - math.min(ask.household, shared), ofEvent
end

-- over returns the rule by which the leases are too many: 'a' for the account's
-- limit, 'e' for the event's.
function ask.over(rank, eventRank)
  local n, ofEvent = ask.streams(rank, eventRank)
  if ask.limit > 0 and n > ask.limit then
    return 'a'
  elseif ask.eventLimit > 0 and ofEvent > ask.eventLimit then
    return 'e'
  end
end

-- rivals returns the leases that count by a rule, oldest first.
function ask.rivals(kind)
  local list = {}
  for _, l in ipairs(account.leases) do
    if l.kind == 'L' and l ~= ask.me and (kind == 'a' or l.event == ask.me.event) then
      list[#list + 1] = l
    end
  end
  table.sort(list, account.before)
  return list
end

-- reason returns a rule with its limit and the streams that count now.
function ask.reason(kind)
  local n, ofEvent = ask.streams()
  if kind == 'e' or (not kind and ask.limit == 0 and ask.eventLimit > 0) then
    return {kind = 'e', rule = 'event:' .. ask.me.event, limit = ask.eventLimit, current = ofEvent}
  end
  return {kind = 'a', rule = ask.rule, limit = ask.limit, current = n}
end

-- verdict writes what was changed and returns the reply: outcome, code, kind of
-- rule, streams, now, since, born, until, when a place becomes free, the name of
-- who took the place; a line for each rival; the news.
function ask.verdict(outcome, code, reason, rivals, by)
  local times, free, lines = '|0|0|0|', nil, ''
  if code == '' then
    times = '|' .. ask.me.since .. '|' .. ask.me.born .. '|' .. ask.me.till .. '|'
  end
  for _, l in ipairs(rivals) do
    if code == 'device_limit' or code == 'too_many_devices' then
      free = free and free < l.till and free or l.till
    end
    lines = lines .. l.line
  end
  return outcome .. '|' .. code .. '|' .. reason.kind .. '|' .. reason.current .. '|' .. now .. times .. (free or '0') .. '|' .. by .. '\n'
    .. lines .. account.news()
end

-- superseded blocks the older one of two sessions of a device.
function ask.superseded(waited, newer, rivals)
  account.remove(account.waiting, waited)
  account.finish(ask.me, 'superseded', newer.name, true)
  local reason = ask.reason()
  account.decided('blocked', 'superseded', ask.me, reason, {newer})
  return ask.verdict('blocked', 'superseded', reason, rivals, newer.name)
end

-- tooMany tells whether more devices play or wait than can be kept.
function ask.tooMany()
  local n, devices = 0, {}
  for _, list in ipairs({account.leases, account.waiting}) do
    for _, e in ipairs(list) do
      n = n + (devices[e.device] and 0 or 1)
      devices[e.device] = true
    end
  end
  return n > maxDevices
end

-- blockedLast tells whether the last thing decided about the session was to
-- block it.
function ask.blockedLast()
  for _, text in ipairs(redis.call('LRANGE', KEYS[2], 0, 9)) do
    if string.find(text, '|' .. ask.me.device .. '|' .. ask.me.session .. '|', 1, true) then
      return string.find(text, '|blocked|device_limit|', 1, true) ~= nil
    end
  end
  return false
end
