-- No decision about a notification comes any more. end_turns.lua has what is stored.
--
-- KEYS  [1] the order, [2] its turn
-- ARGV  [1] the notification
local parts = redis.call('HGETALL', KEYS[2])
local is_over = #parts > 0
for part = 1, #parts, 2 do
  if parts[part + 1] == 'w' then
    redis.call('HSET', KEYS[2], parts[part], 'e')
  elseif string.sub(parts[part + 1], 1, 1) == 'p' then
    is_over = false
  end
end
if is_over then
  redis.call('HSET', KEYS[2], 'done', 'e')
  redis.call('PEXPIRE', KEYS[2], 3600000)
  redis.call('ZREM', KEYS[1], ARGV[1])
end
