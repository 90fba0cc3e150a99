-- Takes note of what was decided about notifications. end_turns.lua has what is stored.
--
-- KEYS  of notification i: [2i-1] the order, [2i] its turn
-- ARGV  [1] how long they are kept, ms, then of each "<notification> <place> <release>
--       <1 when a decision follows, else 0> <delivery>..."
-- A release that is decided again stands in the place of what was decided then; what is
-- over stays so.
for i = 1, #KEYS / 2 do
  local order, turn = KEYS[2 * i - 1], KEYS[2 * i]
  if redis.call('HEXISTS', turn, 'done') == 0 then
    local words = string.gmatch(ARGV[i + 1], '%S+')
    local id, place, release, follows = words(), words(), words(), words()
    redis.call('ZADD', order, 'NX', place, id)
    redis.call('HSET', turn, 'order', order)
    local planned = {}
    for delivery in words do
      planned[delivery] = true
      redis.call('HSETNX', turn, delivery, 'p' .. release)
    end
    if follows == '1' then
      redis.call('HSETNX', turn, 'r' .. (release + 1), 'w')
    end
    redis.call('HSET', turn, 'r' .. release, 'e')
    local parts = redis.call('HGETALL', turn)
    local is_over = true
    for part = 1, #parts, 2 do
      local name, value = parts[part], parts[part + 1]
      if value == 'p' .. release and not planned[name] then
        redis.call('HSET', turn, name, 'e')
      elseif value == 'w' or string.sub(value, 1, 1) == 'p' then
        is_over = false
      end
    end
    redis.call('PEXPIRE', order, ARGV[1])
    redis.call('PEXPIRE', turn, ARGV[1])
    if is_over then
      redis.call('HSET', turn, 'done', 'e')
      redis.call('PEXPIRE', turn, 3600000)
      redis.call('ZREM', order, id)
    end
  end
end
