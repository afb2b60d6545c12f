-- Returns TIME of the node that KEYS[1] is on.
return redis.call('TIME')
