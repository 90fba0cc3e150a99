-- Writes what became of claimed jobs of one tenant.
--
-- KEYS  the claims
-- ARGV  [1] time to live in ms, [2] the owners with a space between them, empty when all
--       values are done marks; then the new value of each
-- A value D<outcome> always stands. W<attempt> is written only over what this owner
-- leased (or nothing), and so is the empty value, which removes the lease.
local ttl = ARGV[1]
if ARGV[2] == '' then
  for i = 1, #KEYS do
    redis.call('SET', KEYS[i], ARGV[i + 2], 'PX', ttl)
  end
  return #KEYS
end
local owners = string.gmatch(ARGV[2], '%S+')
for i = 1, #KEYS do
  local key, owner, value = KEYS[i], owners(), ARGV[i + 2]
  if string.sub(value, 1, 1) == 'D' then
    redis.call('SET', key, value, 'PX', ttl)
  else
    local held = redis.call('GET', key)
    if not held or string.match(held, '^L(%S+) ') == owner then
      if value == '' then
        redis.call('DEL', key)
      else
        redis.call('SET', key, value, 'PX', ttl)
      end
    end
  end
end
return #KEYS
