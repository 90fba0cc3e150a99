-- Makes the leases of jobs that are still being sent last longer.
--
-- KEYS  the claims
-- ARGV  [1] lease in ms, [2] time to live of the keys in ms, [3] the owners, with a
--       space between them
-- Answer: how many were still this owner's.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local owners = string.gmatch(ARGV[3], '%S+')
local kept = 0
for i = 1, #KEYS do
  local held = redis.call('GET', KEYS[i])
  local wanted = owners()
  if held then
    local owner, attempt = string.match(held, '^L(%S+) (%S+) %d+$')
    if owner == wanted then
      local value =
        string.format('L%s %s %.0f', owner, attempt, now + tonumber(ARGV[1]))
      redis.call('SET', KEYS[i], value, 'PX', ARGV[2])
      kept = kept + 1
    end
  end
end
return kept
