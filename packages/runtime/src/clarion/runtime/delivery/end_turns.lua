-- Takes note of deliveries of ordered notifications that are over. A notification all
-- of whose parts are over makes room for the next one of its person and type.
--
-- KEYS  of delivery i: [2i-1] the order, [2i] the turn
-- ARGV  of delivery i: [2i-1] the notification, [2i] the delivery
-- An order is a sorted set of notifications, the first in front. A turn is a hash of one
-- notification's parts: p<release> a delivery that is planned, w a decision to come,
-- e over. What is over stays so; with the field "done" all of it is, and it is kept for
-- an hour: longer than the stream would swallow the jobs of one that is decided again.
-- Running it twice changes nothing.
for i = 1, #KEYS / 2 do
  local order, turn = KEYS[2 * i - 1], KEYS[2 * i]
  local is_over = true
  if redis.call('EXISTS', turn) == 1 then
    redis.call('HSET', turn, ARGV[2 * i], 'e')
    for _, part in ipairs(redis.call('HVALS', turn)) do
      local kind = string.sub(part, 1, 1)
      if kind == 'p' or kind == 'w' then
        is_over = false
      end
    end
    if is_over then
      redis.call('HSET', turn, 'done', 'e')
      redis.call('PEXPIRE', turn, 3600000)
    end
  end
  if is_over then
    redis.call('ZREM', order, ARGV[2 * i - 1])
  end
end
return #KEYS / 2
