-- Makes ARGV[1] the owner of the session KEYS[1] and returns its generation and
-- the owner before: {gen, owner, gen, record, claimed at, from whom}; owner '' if
-- there was none.
--
-- KEYS[2]: what the owner before would be told, should it ask again: "owner|gen|gen
-- before|owner before|" and the record before.
-- ARGV: owner, its generation (0: none), its record, TTL ms, repeat ms, '1' if it
-- has asked before and was not answered
--
-- A record is "gen|owner|claimed at|gen before|owner before|length of record|"
-- and the record, then the record before. What was before is kept so that a
-- claim whose reply was lost gets the same answer when it is asked again, but for
-- when and from whom the owner before had claimed the session.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local owner, gen, record = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local function write(g, at, pgen, powner, before)
  local head = string.format('%.0f|%s|%.0f|%s|%s|%d|', g, owner, at, pgen, powner, #record)
  redis.call('SET', KEYS[1], head .. record .. before, 'PX', ARGV[4])
end

local cur = redis.call('GET', KEYS[1])
local head, e, cgen, cowner, cat, pgen, powner, len
if cur then
  head, e, cgen, cowner, cat, pgen, powner, len =
    string.find(cur, '^(%d+)|([^|]*)|(%d+)|(%d+)|([^|]*)|(%d+)|')
end

if not head then
  -- Nobody has a record, but somebody may still have the session (the record is
  -- not written yet, or Redis was lost). The time is above every generation
  -- that was counted up from an earlier one, so the claimer prevails.
  gen = math.max(gen + 1, now)
  write(gen, now, '0', '', '')
  return {string.format('%.0f', gen), '', '0', '', '0', ''}
end

local body = string.sub(cur, e + 1, e + tonumber(len))
local before = string.sub(cur, e + 1 + tonumber(len))
if cowner == owner then
  gen = math.max(tonumber(cgen), gen)
  if powner ~= '' and now - tonumber(cat) > tonumber(ARGV[5]) then
    pgen, powner, before = '0', '', ''
  end
  write(gen, tonumber(cat), pgen, powner, before)
  return {string.format('%.0f', gen), powner, pgen, before, '0', ''}
end

if ARGV[6] == '1' then
  -- The claim was carried out, and another owner has come since: the session stays
  -- with that one. But who had it first is to be told by whom it was claimed.
  local note = redis.call('GET', KEYS[2])
  if note then
    local _, last, nowner, ngen, npgen, npowner = string.find(note, '^([^|]*)|(%d+)|(%d+)|([^|]*)|')
    if nowner == owner and tonumber(ngen) > gen then
      return {ngen, npowner, npgen, string.sub(note, last + 1), '0', ''}
    end
  end
end

if powner ~= '' and now - tonumber(cat) <= tonumber(ARGV[5]) then
  redis.call('SET', KEYS[2], cowner .. '|' .. cgen .. '|' .. pgen .. '|' .. powner .. '|' .. before, 'PX', ARGV[5])
end
gen = math.max(tonumber(cgen), gen) + 1
write(gen, now, cgen, cowner, body)
return {string.format('%.0f', gen), cowner, cgen, body, powner ~= '' and cat or '0', powner}
