-- Takes notifications out that were refused, unless something was decided about them.
--
-- KEYS  of notification i: [2i-1] the order, [2i] its turn
-- ARGV  the notifications
for i = 1, #KEYS / 2 do
  if redis.call('HLEN', KEYS[2 * i]) <= 1 then
    redis.call('ZREM', KEYS[2 * i - 1], ARGV[i])
    redis.call('DEL', KEYS[2 * i])
  end
end
