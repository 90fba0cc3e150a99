-- Counts the deliveries of one decision that ended without being sent.
--
-- KEYS  [1] the set of them
-- ARGV  [1] how long it is kept, ms, then the deliveries
-- Answer: how many there are. Repeating it counts nothing twice.
for i = 2, #ARGV do
  redis.call('SADD', KEYS[1], ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('SCARD', KEYS[1])
