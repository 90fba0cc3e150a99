-- Leases absent keys to a reader: only whoever holds the lease may fill the key.
-- KEYS: the keys. ARGV: lease, its life in milliseconds.
for _, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2])
end
return 0
