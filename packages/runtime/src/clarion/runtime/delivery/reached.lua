-- Marks persons as reached, where an escalation waits for it.
--
-- KEYS  the escalations (hashes that the router keeps), of one tenant
-- ARGV  [1] how: delivered or read
-- The time is this server's, as that of the deadlines; the first one stays.
local now = redis.call('TIME')
now = string.format('%.0f', now[1] * 1000000 + now[2])
local marked = 0
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then
    marked = marked + redis.call('HSETNX', key, ARGV[1], now)
  end
end
return marked
