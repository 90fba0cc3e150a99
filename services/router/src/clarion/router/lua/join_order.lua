-- Puts notifications at the end of their orders. end_turns.lua has what is stored.
--
-- KEYS  of notification i: [2i-1] the order, [2i] its turn
-- ARGV  [1] how long they are kept, ms, then the notifications
-- The places are microseconds of this server's clock, one behind the other, so that
-- whoever was answered before another began comes first, whatever other clocks say.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i = 1, #KEYS / 2 do
  local order, turn, id = KEYS[2 * i - 1], KEYS[2 * i], ARGV[i + 1]
  local is_done = redis.call('HEXISTS', turn, 'done') == 1
  if not (is_done or redis.call('ZSCORE', order, id)) then
    local stale = now - ARGV[1] * 1000
    redis.call('ZREMRANGEBYSCORE', order, '-inf', string.format('%.0f', stale))
    local last = redis.call('ZRANGE', order, -1, -1, 'WITHSCORES')
    local place = now
    if last[2] and tonumber(last[2]) >= place then
      place = tonumber(last[2]) + 1
    end
    redis.call('ZADD', order, string.format('%.0f', place), id)
    redis.call('HSET', turn, 'order', order)
  end
  redis.call('PEXPIRE', order, ARGV[1])
  redis.call('PEXPIRE', turn, ARGV[1])
end
