-- Puts a guard on the keys: until it ends nobody can read, lease or fill them.
-- KEYS: the keys. ARGV: guard, its life in milliseconds.
for _, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
end
return 0
