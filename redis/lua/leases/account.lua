-- Returns the time and the state as it is.
if raw and type(raw) ~= 'string' then
  raw = '?' -- a key of another type
end
return {string.format('%.0f', now), raw or ''}
