-- Returns {now, renewals, life}: its name and when it began.
return {stamp, string.format('%.0f', renewals), boot}
