-- Returns the time and the state as it is.
return {now, raw or ''}
