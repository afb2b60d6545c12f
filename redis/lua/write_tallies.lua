-- Sets the values KEYS. ARGV: TTL ms, then a value for each key
for i, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
end
return #KEYS
