-- The beginning of every script about an account's leases: the time and what is
-- there. KEYS: the account's state, its decisions (the same slot).
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local raw = redis.pcall('GET', KEYS[1])
