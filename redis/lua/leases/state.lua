-- What the scripts about an account's leases share: reading its state, changing
-- it and writing it.
--
-- The state is text of lines, each ended by a newline. Fields are separated by
-- |, which is written %7C within one, as % and control characters are written
-- %XX. A time is Unix ms of Redis in 13 digits. The first line is
--
--   1|<born>|<next>|<count>|<shared>
--
-- the version; when this state began (leases granted before were lost); a time
-- before which no lease lapses; the number of leases of kind L, and how many of
-- them are behind one network with another, in 3 digits each. Then there is a
-- line for each
--
--   <since>|<born>|<seen>|<until>|L|<device>|<session>|<member>|<network>|<event>|<name>   lease
--   <since>|<born>|<seen>|<until>|S|... the same: a lease that plays because nobody is blocked
--   <first>|<0>|<asked>|<until>|W|... the same: a session that waits for a place
--   <0>|<0>|<0>|<until>|A|||<member>|||   who is told of every change
--   <ended>|<0>|<asked>|<until>|T|<device>|<session>|<code>|<1: it was told>|<name>|<name of who did it>
--
-- where those of kind T are the last, in the order of their end: there may be
-- many, they matter to their own session only, and are left as they are. The
-- order of the others does not matter.
--
-- Devices and networks are keys of 22 characters; a network that is not known is
-- empty. A device has one lease at most and one session at most that waits; a
-- session that has a T has neither. There are L, S and W of maxDevices devices at
-- most, maxEnded T and maxWatchers A.
--
-- Who finds anything else replaces the state by a new one, to which the holders
-- come back by what they hold. (The quick way looks at the letter of its kind
-- only: a version that has a lease's times elsewhere needs other letters.) Times
-- ahead of now come from a clock that was set back since; they are moved to now,
-- or a lease might never end.
--
-- All functions are fields of few tables: what a function finds outside of itself
-- makes it dear to define, which is done in each run.
local account = {
  born = now,
  leases = {}, -- L and S
  waiting = {}, -- W
  watching = {}, -- A
  ended = '', -- T, as text
  lapsed = {}, -- leases that were over
  decisions = {}, -- for the log, oldest first
  tell = {}, -- member: true
  corrupt = false, -- what was there could not be read
  dirty = false, -- there is something to write
  changed = false, -- and to tell those who watch
}

function account.remove(list, e)
  for i, x in ipairs(list) do
    if x == e then
      return table.remove(list, i)
    end
  end
end

-- before is the order of leases: by since, then by the bytes of the session (the
-- operator < would follow the locale of the server).
function account.before(a, b)
  if a.since ~= b.since then
    return a.since < b.since
  end
  for i = 1, math.min(#a.session, #b.session) do
    local x, y = string.byte(a.session, i), string.byte(b.session, i)
    if x ~= y then
      return x < y
    end
  end
  return #a.session < #b.session
end

-- line writes an entry anew, after it was made or changed.
function account.line(e)
  e.line = e.since .. '|' .. e.born .. '|' .. e.seen .. '|' .. e.till .. '|' .. e.kind .. '|'
    .. e.device .. '|' .. e.session .. '|' .. e.member .. '|' .. e.network .. '|' .. e.event .. '|' .. e.name .. '\n'
  return e
end

local never, later = '0000000000000', ms + endedMS .. ''
if raw then
  local lists = {L = account.leases, S = account.leases, W = account.waiting, A = account.watching}
  local _, stop, born = string.find(raw, '^1|(%d+)|%d+|%d%d%d|%d%d%d\n')
  local readable, ahead = stop == 38 and #born == 13, ms + aheadMS .. ''
  while readable and stop < #raw and string.sub(raw, stop + 56, stop + 58) ~= '|T|' do
    local at, since, first, seen, till, kind, device, session, member, network, event, name = stop + 1
    _, stop, since, first, seen, till, kind, device, session, member, network, event, name = string.find(raw,
      '^(%d+)|(%d+)|(%d+)|(%d+)|(%u)|([^|\n]*)|([^|\n]*)|([^|\n]*)|([^|\n]*)|([^|\n]*)|([^|\n]*)\n', at)
    readable = stop and lists[kind] and (#device == 22 or kind == 'A')
      and #since == 13 and #first == 13 and #seen == 13 and #till == 13
    if readable then
      local e = {
        kind = kind, since = since, born = first, seen = seen, till = till, device = device, session = session, member = member,
        network = network, event = event, name = name, line = string.sub(raw, at, stop),
      }
      if since > ahead or seen > ahead then
        e.since = since < now and since or now
        if seen > ahead then
          e.seen, e.till = now, ms + (till - seen) .. ''
        end
        account.line(e)
        account.dirty = true
      end
      if e.till > now then
        table.insert(lists[kind], e)
      elseif lists[kind] == account.leases then
        table.insert(account.lapsed, e)
      end
    end
  end
  if readable and stop < #raw then
    account.ended = string.sub(raw, stop + 1)
    readable = string.gsub(account.ended, '%d+|%d+|%d+|%d+|T|[^\n]*\n', '') == ''
    while account.ended ~= '' and string.sub(account.ended, 43, 55) <= now do
      account.ended = string.match(account.ended, '\n(.*)')
    end
  end
  if readable then
    account.born = born < now and born or now
  else
    account.leases, account.waiting, account.watching, account.lapsed, account.ended = {}, {}, {}, {}, ''
    account.corrupt, account.dirty = true, true
  end
end
local found = {unpack(account.leases)}

-- decided adds to the log what happened to e: by which rule, with how many
-- streams of which limit, and the names of those who had part in it. Without a
-- rule that does not matter.
function account.decided(outcome, code, e, reason, rivals)
  local text = (outcome == 'lapsed' and e.till or now) .. '|' .. outcome .. '|' .. code .. '|'
  if reason then
    text = text .. reason.rule .. '|' .. reason.limit .. '|' .. reason.current .. '|'
  else
    text = text .. '|0|0|'
  end
  text = text .. e.device .. '|' .. e.session .. '|' .. e.event .. '|' .. e.name
  for _, r in ipairs(rivals) do
    text = text .. '|' .. r.name
  end
  table.insert(account.decisions, text)
  account.changed = true
end

-- resume lets a session play that was ended, and returns the line of that; nil if
-- it was not ended.
function account.resume(e)
  local at = string.find(account.ended, '|T|' .. e.device .. '|' .. e.session .. '|', 1, true)
  if not at then
    return nil
  end
  local stop = string.find(account.ended, '\n', at, true)
  local text = string.sub(account.ended, at - 55, stop)
  account.ended = string.sub(account.ended, 1, at - 56) .. string.sub(account.ended, stop + 1)
  account.dirty = true
  return text
end

-- finish has a session not play until its viewer asks. Its member is told, unless
-- it learns it from the answer. since is when it was ended, if not now.
function account.finish(e, code, by, told, since)
  local t = account.line({kind = 'T', device = e.device, session = e.session, member = code, network = told and '1' or '', event = e.name,
    name = by, since = since or now, born = never, seen = now, till = later})
  account.ended = account.ended .. t.line
  local _, n = string.gsub(account.ended, '\n', '')
  if n > maxEnded then
    account.ended = string.match(account.ended, '\n(.*)')
  end
  if not told then
    account.tell[e.member] = true
  end
  account.changed = true
end

-- taken returns how many places leases take: of the account ('|') and by event.
function account.taken(list)
  local n = {['|'] = 0}
  for _, l in ipairs(list) do
    if l.kind == 'L' then
      n['|'], n[l.event] = n['|'] + 1, (n[l.event] or 0) + 1
    end
  end
  return n
end

-- write keeps the state and the log.
function account.write()
  local lines, next, n, shared, networks = {''}, '9999999999999', 0, 0, {}
  for _, l in ipairs(account.leases) do
    if l.till < next then
      next = l.till
    end
    if l.kind == 'L' then
      n = n + 1
      if networks[l.network] then
        shared = shared + 1
      elseif l.network ~= '' then
        networks[l.network] = true
      end
    end
    lines[#lines + 1] = l.line
  end
  for _, w in ipairs(account.waiting) do
    lines[#lines + 1] = w.line
  end
  for _, a in ipairs(account.watching) do
    lines[#lines + 1] = a.line
  end
  lines[#lines + 1] = account.ended
  lines[1] = '1|' .. account.born .. '|' .. next .. string.format('|%03d|%03d\n', n, shared)
  redis.call('SET', KEYS[1], table.concat(lines), 'PX', stateMS)
  if #account.decisions > 0 then
    if redis.call('LPUSH', KEYS[2], unpack(account.decisions)) > maxDecisions then
      redis.call('LTRIM', KEYS[2], 0, maxDecisions - 1)
    end
    redis.call('PEXPIRE', KEYS[2], decisionsMS)
  end
end

-- news writes what was changed and returns the end of a reply: 'C' if what was
-- there could not be read, 'N|' and a member for each that is to be told. Who
-- watches is told of every change, who waits of a place that became free.
function account.news()
  if account.dirty or account.changed then
    account.write()
  end
  if account.changed then
    for _, a in ipairs(account.watching) do
      account.tell[a.member] = true
    end
    local is = account.taken(account.leases)
    for event, n in pairs(account.taken(found)) do
      if (is[event] or 0) < n then
        for _, w in ipairs(account.waiting) do
          account.tell[w.member] = true
        end
        break
      end
    end
  end
  local text = account.corrupt and 'C\n' or ''
  for member in pairs(account.tell) do
    text = text .. 'N|' .. member .. '\n'
  end
  return text
end

if #account.lapsed > 0 then
  table.sort(account.lapsed, function(a, b)
    return a.till < b.till or (a.till == b.till and account.before(a, b))
  end)
  for _, l in ipairs(account.lapsed) do
    account.decided('lapsed', '', l, nil, {})
  end
end
