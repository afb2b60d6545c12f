-- The beginning of every script about an account's leases: the time and what is
-- there. KEYS: the account's state, its decisions (the same slot). Times are
-- Unix ms as text of 13 digits: so they compare as numbers do, and need not be
-- written and read in between, which is dear.
local clock = redis.call('TIME')
local ms = clock[1] * 1000 + (clock[2] - clock[2] % 1000) / 1000
local now = ms .. ''
local raw = redis.call('GET', KEYS[1])
