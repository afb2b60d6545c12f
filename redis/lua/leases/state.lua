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
-- them are behind one network with another, in 3 digits each. Then there is, in
-- any order, a line for each
--
--   <since><born><seen><until>|L|<device>|<session>|<member>|<network>|<event>|<name>   lease
--   <since><born><seen><until>|S|... the same: a lease that plays because nobody is blocked
--   <first><0><asked><until>|W|... the same: a session that waits for a place
--   <ended><0><asked><until>|T|<device>|<session>|<code>|<1: it was told>|<name of who did it>
--   <until>|A|<member>   who is told of every change
--
-- Devices and networks are keys of 22 characters; a network that is not known is
-- empty. A device has one lease at most and one session at most that waits; a
-- session that has a T has neither. There are L, S and W of maxDevices devices at
-- most, maxEnded T and maxWatchers A.
--
-- Who finds anything else replaces the state by a new one, to which the holders
-- come back by what they hold. Times ahead of now come from a clock that was set
-- back since; they are moved to now, or a lease might never end.
local leases, waiters, others = {}, {}, {} -- L and S; W; T and A
local born, corrupt = now, false
local dirty, changed = false, false -- there is something to write, and to tell those who watch
local lapsed = {} -- leases that were over
local entries = {} -- of the log of decisions, oldest first
local tell = {} -- member: true

local function stamp(n)
  return string.format('%013.0f', n)
end

local function remove(list, e)
  for i, x in ipairs(list) do
    if x == e then
      return table.remove(list, i)
    end
  end
end

-- before is the order of leases: by since, then by the bytes of the session (the
-- operator < would follow the locale of the server).
local function before(a, b)
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
local function line(e)
  local fields
  if e.kind == 'A' then
    fields = e.member
  elseif e.kind == 'T' then
    fields = table.concat({e.device, e.session, e.code, e.told, e.by}, '|')
  else
    fields = table.concat({e.device, e.session, e.member, e.network, e.event, e.name}, '|')
  end
  local times = ''
  if e.since then
    times = string.format('%013.0f%013.0f%013.0f', e.since, e.born, e.seen)
  end
  e.line = times .. stamp(e.till) .. '|' .. e.kind .. '|' .. fields .. '\n'
  return e
end

-- entry puts one line into the list that it belongs to, unless its time is over.
-- It returns false if it cannot be read.
local function entry(times, kind, fields, text)
  local till = tonumber(string.sub(times, -13))
  if kind == 'A' and #times == 13 then
    if till > now then
      others[#others + 1] = {kind = kind, line = text, till = till, member = fields}
    end
    return true
  elseif #times ~= 52 then
    return false
  end
  local since, first = tonumber(string.sub(times, 1, 13)), tonumber(string.sub(times, 14, 26))
  local seen, e, list = tonumber(string.sub(times, 27, 39)), nil, nil
  if kind == 'T' then
    local device, session, code, told, by = string.match(fields, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
    e, list = {kind = kind, line = text, till = till, since = since, born = first, seen = seen,
      device = device, session = session, code = code, told = told, by = by}, others
  elseif kind == 'L' or kind == 'S' or kind == 'W' then
    local device, session, member, network, event, name =
      string.match(fields, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
    e, list = {kind = kind, line = text, till = till, since = since, born = first, seen = seen,
      device = device, session = session, member = member, network = network, event = event, name = name}, leases
    if kind == 'W' then
      list = waiters
    end
  end
  if not e or not e.device or #e.device ~= 22 then
    return false
  end
  if seen > now + aheadMS then
    e.seen, e.till = now, now + (till - seen)
    line(e)
    dirty = true
  end
  if e.till > now then
    list[#list + 1] = e
  elseif list == leases then
    lapsed[#lapsed + 1] = e
  end
  return true
end

local function read()
  if not raw then
    return true
  elseif type(raw) ~= 'string' then
    return false -- a key of another type
  end
  local _, at, b = string.find(raw, '^1|(%d+)|%d+|%d%d%d|%d%d%d\n')
  if at ~= 38 or #b ~= 13 then
    return false
  end
  while at < #raw do
    local _, stop, times, kind, fields = string.find(raw, '^(%d+)|(%u)|([^\n]*)\n', at + 1)
    if not stop or not entry(times, kind, fields, string.sub(raw, at + 1, stop)) then
      return false
    end
    at = stop
  end
  born = math.min(tonumber(b), now)
  return true
end

if not read() then
  leases, waiters, others, lapsed, corrupt = {}, {}, {}, {}, true
end

-- decided adds to the log what happened to e: by which rule, with how many
-- streams of which limit, and the names of those who had part in it. Without a
-- rule that does not matter.
local function decided(outcome, code, e, reason, rivals)
  local fields = {stamp(outcome == 'lapsed' and e.till or now), outcome, code, '', 0, 0, e.device, e.session, e.event, e.name}
  if reason then
    fields[4], fields[5], fields[6] = reason.rule, reason.limit, reason.current
  end
  for _, r in ipairs(rivals) do
    fields[#fields + 1] = r.name
  end
  entries[#entries + 1] = table.concat(fields, '|')
  changed = true
end

-- finish has a session not play until its viewer asks. Its member is told,
-- unless it learns it from the answer.
local function finish(e, code, by, told)
  others[#others + 1] = line({kind = 'T', device = e.device, session = e.session, code = code, told = told and '1' or '', by = by,
    since = now, born = 0, seen = now, till = now + endedMS})
  if not told then
    tell[e.member] = true
  end
  changed = true
end

-- bound drops those of a kind among the others that end first, but max.
local function bound(kind, max)
  local list = {}
  for _, e in ipairs(others) do
    if e.kind == kind then
      list[#list + 1] = e
    end
  end
  if #list > max then
    table.sort(list, function(a, b) return a.till < b.till end)
    for i = 1, #list - max do
      remove(others, list[i])
    end
  end
end

-- taken returns how many places are taken: of the account ('|') and by event.
local function taken()
  local n = {['|'] = 0}
  for _, l in ipairs(leases) do
    if l.kind == 'L' then
      n['|'], n[l.event] = n['|'] + 1, (n[l.event] or 0) + 1
    end
  end
  return n
end
local was = taken()

table.sort(lapsed, function(a, b)
  return a.till < b.till or (a.till == b.till and before(a, b))
end)
for _, l in ipairs(lapsed) do
  decided('lapsed', '', l, nil, {})
end

-- write keeps the state and the log.
local function write()
  bound('T', maxEnded)
  bound('A', maxWatchers)
  local lines, next, n, shared, networks = {''}, 9999999999999, 0, 0, {}
  for _, l in ipairs(leases) do
    next = math.min(next, l.till)
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
  for _, w in ipairs(waiters) do
    lines[#lines + 1] = w.line
  end
  for _, e in ipairs(others) do
    lines[#lines + 1] = e.line
  end
  lines[1] = string.format('1|%013.0f|%013.0f|%03d|%03d\n', born, next, n, shared)
  redis.call('SET', KEYS[1], table.concat(lines), 'PX', stateMS)
  if #entries == 0 then
    return
  end
  local reply = redis.pcall('LPUSH', KEYS[2], unpack(entries))
  if type(reply) == 'table' then -- a key of another type
    redis.call('DEL', KEYS[2])
    redis.call('LPUSH', KEYS[2], unpack(entries))
  end
  redis.call('LTRIM', KEYS[2], 0, maxDecisions - 1)
  redis.call('PEXPIRE', KEYS[2], decisionsMS)
end

-- news writes what was changed and returns the end of a reply: 'C' if what was
-- there could not be read, 'N|' and a member for each that is to be told. Who
-- watches is told of every change, who waits of a place that became free.
local function news()
  if dirty or changed or corrupt then
    write()
  end
  if changed then
    for _, e in ipairs(others) do
      if e.kind == 'A' then
        tell[e.member] = true
      end
    end
    local is = taken()
    for event, n in pairs(was) do
      if (is[event] or 0) < n then
        for _, w in ipairs(waiters) do
          tell[w.member] = true
        end
        break
      end
    end
  end
  local lines = {corrupt and 'C\n' or ''}
  for member in pairs(tell) do
    lines[#lines + 1] = 'N|' .. member .. '\n'
  end
  return table.concat(lines)
end
