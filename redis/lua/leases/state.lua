-- What the scripts about an account's leases share: reading its state, changing
-- it and writing it.
--
-- The state is text of lines, each ended by a newline. Its fields are separated
-- by |, which like control characters and % is written %XX in them; a time is
-- Unix ms of Redis in 13 digits, and those in front of a kind have nothing
-- between them. The first line is
--
--   1|<born>|<next>|<count>
--
-- the version, when this state began (leases granted before were lost), a time
-- before which no lease lapses, and the number of leases of kind L in 3 digits.
-- Then, in any order, a line for each of
--
--   <since><born><seen><until>|L|<device>|<session>|<member>|<address>|<event>|<name>
--   <since><born><seen><until>|S|...the same: a lease that only plays because nobody is blocked
--   <first><0><asked><until>|W|...the same: a session that waits
--   <ended><asked><until>|T|<device>|<session>|<code>|<1 if it was told>|<name of who did it>
--   <until>|A|<member>: who is told of every change
--
-- A device and a network are keys of 22 characters, a network that is not known
-- is empty. A device has one lease at most, and at most one session that waits.
-- A session has no T beside a lease. Bounds: maxDevices devices with L, S or W,
-- maxEnded T, maxWatchers A. Whoever finds anything else replaces the state by a
-- new one, so that holders get their leases back by what they hold.
local leases, waiters, others = {}, {}, {} -- L and S; W; T and A
local born, corrupt = now, false
local lapsed = {} -- leases whose time was over
local tell = {} -- member: true
local entries = {} -- of the log of decisions

local function stamp(n)
  return string.format('%013.0f', n)
end

-- before is the rank of leases: by since, then by the bytes of the session (the
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

local function remove(list, e)
  for i, x in ipairs(list) do
    if x == e then
      return table.remove(list, i)
    end
  end
end

-- entry reads one line into the list that it belongs to; false if it cannot.
local function entry(times, kind, fields, line)
  local e = {kind = kind, line = line, till = tonumber(string.sub(times, -13))}
  if kind == 'L' or kind == 'S' or kind == 'W' then
    e.device, e.session, e.member, e.address, e.event, e.name =
      string.match(fields, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
    if not e.name or #times ~= 52 then
      return false
    end
    e.since, e.born = tonumber(string.sub(times, 1, 13)), tonumber(string.sub(times, 14, 26))
    e.seen = tonumber(string.sub(times, 27, 39))
    if e.till > now then
      table.insert(kind == 'W' and waiters or leases, e)
    elseif kind ~= 'W' then
      lapsed[#lapsed + 1] = e
    end
    return true
  elseif kind == 'T' then
    e.device, e.session, e.code, e.told, e.by = string.match(fields, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
    if not e.by or #times ~= 39 then
      return false
    end
    e.at = tonumber(string.sub(times, 1, 13))
  elseif kind == 'A' then
    e.member = fields
  else
    return false
  end
  if e.till > now then
    others[#others + 1] = e
  end
  return true
end

local function read()
  if not raw then
    return true
  elseif type(raw) ~= 'string' then
    return false -- a key of another type
  end
  local _, at, b = string.find(raw, '^1|(%d+)|%d+|%d+\n')
  if not at or at ~= 34 or #b ~= 13 then
    return false
  end
  while at < #raw do
    local _, stop, times, kind, fields = string.find(raw, '^(%d+)|(%u)|([^\n]*)\n', at + 1)
    if not stop or not entry(times, kind, fields, string.sub(raw, at + 1, stop)) then
      return false
    end
    at = stop
  end
  born = tonumber(b)
  return true
end

if not read() then
  leases, waiters, others, lapsed, corrupt = {}, {}, {}, {}, true
end

-- line writes an entry anew after it was changed or made.
local function line(e)
  if e.kind == 'A' then
    e.line = stamp(e.till) .. '|A|' .. e.member .. '\n'
  elseif e.kind == 'T' then
    e.line = stamp(e.at) .. stamp(e.till - endedMS) .. stamp(e.till) .. '|T|'
      .. table.concat({e.device, e.session, e.code, e.told, e.by}, '|') .. '\n'
  else
    e.line = stamp(e.since) .. stamp(e.born) .. stamp(e.seen) .. stamp(e.till) .. '|' .. e.kind .. '|'
      .. table.concat({e.device, e.session, e.member, e.address, e.event, e.name}, '|') .. '\n'
  end
  return e
end

-- bound drops those of a kind among the others that end first, but max.
local function bound(kind, max)
  local n, first = 0, nil
  for _, e in ipairs(others) do
    if e.kind == kind then
      n = n + 1
      if not first or e.till < first.till then
        first = e
      end
    end
  end
  if n > max then
    remove(others, first)
  end
end

-- finish has a session not play until its viewer asks.
local function finish(e, code, by)
  others[#others + 1] = line({kind = 'T', device = e.device, session = e.session, code = code, told = '', by = by,
    at = now, till = now + endedMS})
  bound('T', maxEnded)
end

-- streams returns how many of the leases count: those of one network beyond its
-- first do not, up to household.
local function streams(list, household)
  local n, shared, networks = 0, 0, {}
  for _, l in ipairs(list) do
    if l.kind == 'L' then
      n = n + 1
      if networks[l.address] then
        shared = shared + 1
      elseif l.address ~= '' then
        networks[l.address] = true
      end
    end
  end
  return n - math.min(household, shared)
end

-- count returns how many places are taken, in all and by event.
local function count()
  local n = {['|'] = 0}
  for _, l in ipairs(leases) do
    if l.kind == 'L' then
      n['|'], n[l.event] = n['|'] + 1, (n[l.event] or 0) + 1
    end
  end
  return n
end

-- decided is an entry of the log: what happened to e, by which rule, with how
-- many streams of which limit, and the names of those who had part in it.
local function decided(outcome, e, code, why, rivals)
  local fields = {stamp(outcome == 'lapsed' and e.till or now), outcome, code, why.rule, why.limit, why.current,
    e.device, e.session, e.event, e.name}
  for _, r in ipairs(rivals) do
    fields[#fields + 1] = r.name
  end
  entries[#entries + 1] = table.concat(fields, '|')
end

local nothing = {rule = '', limit = 0, current = 0}
local taken = count()
for _, l in ipairs(lapsed) do
  decided('lapsed', l, '', nothing, {})
end

-- write keeps what was changed.
local function write()
  local lines, next, n = {''}, 9999999999999, 0
  table.sort(leases, before)
  for _, list in ipairs({leases, waiters, others}) do
    for _, e in ipairs(list) do
      lines[#lines + 1] = e.line
      if list == leases then
        next = math.min(next, e.till)
        n = n + (e.kind == 'L' and 1 or 0)
      end
    end
  end
  lines[1] = string.format('1|%013.0f|%013.0f|%03d\n', born, next, n)
  redis.call('SET', KEYS[1], table.concat(lines), 'PX', stateMS)
end

-- note writes the log, newest first.
local function note()
  if #entries == 0 then
    return
  end
  local reply = redis.pcall('LPUSH', KEYS[2], unpack(entries))
  if type(reply) == 'table' and reply.err then -- a key of another type
    redis.call('DEL', KEYS[2])
    redis.call('LPUSH', KEYS[2], unpack(entries))
  end
  redis.call('LTRIM', KEYS[2], 0, maxDecisions - 1)
  redis.call('PEXPIRE', KEYS[2], decisionsMS)
end

-- told ends a reply: C if what was there could not be read, N and a member for
-- each that is to be told. Those who watch are told of every change that was
-- logged, those who wait of a place that became free.
local function told(reply)
  if #entries > 0 then
    for _, e in ipairs(others) do
      if e.kind == 'A' then
        tell[e.member] = true
      end
    end
  end
  local left = count()
  for event, n in pairs(taken) do
    if (left[event] or 0) < n then
      for _, w in ipairs(waiters) do
        tell[w.member] = true
      end
      break
    end
  end
  if corrupt then
    reply[#reply + 1] = 'C\n'
  end
  for member in pairs(tell) do
    reply[#reply + 1] = 'N|' .. member .. '\n'
  end
  return table.concat(reply)
end
