-- The quick way of an account's first lease: there is no state, the session holds
-- nothing, and a limit leaves room for one. A big event begins with these. What
-- it writes and returns is what ask.lua would.
local limit, rule = string.match(ARGV[4],
  '^.....|%d+|([1-9]%d*)|%d+|0000000000000|0000000000000|0000000000000|(.*)$')
if not raw and limit then
  local who, what = string.match(ARGV[1], '^|L|([^|]*|[^|]*)|[^|]*|[^|]*|([^|]*|[^|]*)\n$')
  local till = ms + ARGV[2] .. ''
  local times = now .. '|' .. now .. '|'
  redis.call('SET', KEYS[1], '1|' .. now .. '|' .. till .. '|001|000\n' .. times .. now .. '|' .. till .. ARGV[1], 'PX', stateMS)
  if redis.call('LPUSH', KEYS[2], now .. '|acquired||' .. rule .. '|' .. limit .. '|1|' .. who .. '|' .. what) > maxDecisions then
    redis.call('LTRIM', KEYS[2], 0, maxDecisions - 1)
  end
  redis.call('PEXPIRE', KEYS[2], decisionsMS)
  return 'acquired||a|1|' .. now .. '|' .. times .. till .. '|0|\n'
end
