-- Fills the keys whose lease is still there. Running it twice is harmless.
-- KEYS: the keys. ARGV: lease, life of the values in milliseconds, one value per key.
local filled = 0
for place, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then
    redis.call('SET', key, ARGV[place + 2], 'PX', ARGV[2])
    filled = filled + 1
  end
end
return filled
