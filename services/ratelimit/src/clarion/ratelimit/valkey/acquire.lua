-- Judges a batch of permits in order; window.py is the same arithmetic in Python.
--
-- KEYS[i]  sorted set of one person's permits of one category: request id -> time
-- ARGV     now, the edge of the day, the edge of the week (microseconds, what is at an
--          edge or before it does not count), the keys' time to live in milliseconds,
--          then for each key: request id, daily limit, weekly limit
-- returns  for each key: 0 allowed, 1 day full or 2 week full; used in a day; used in a
--          week; when there is a permit again (microseconds) or 0
local call = redis.call
local now, ttl = ARGV[1], ARGV[4]
local past_day, past_week = '(' .. ARGV[2], ARGV[3]
local day, week = tonumber(now) - tonumber(ARGV[2]), tonumber(now) - tonumber(ARGV[3])
local result = {}

-- When the limit-th newest of n permits leaves its window.
local function available(key, n, limit, window)
  local oldest = call('ZRANGE', key, n - limit, n - limit, 'WITHSCORES')
  return tonumber(oldest[2]) + window
end

for i, key in ipairs(KEYS) do
  local id = ARGV[3 * i + 2]
  local daily, weekly = tonumber(ARGV[3 * i + 3]), tonumber(ARGV[3 * i + 4])
  local state, until_time = 0, 0
  local used_week = call('ZCARD', key)
  local used_day = 0
  local taken = false
  if used_week > 0 then
    used_week = used_week - call('ZREMRANGEBYSCORE', key, '-inf', past_week)
    if used_week > 0 then
      used_day = call('ZCOUNT', key, past_day, '+inf')
      taken = call('ZSCORE', key, id)
    end
  end
  if not taken then
    if used_day < daily and used_week < weekly then
      call('ZADD', key, now, id)
      call('PEXPIRE', key, ttl)
      used_day = used_day + 1
      used_week = used_week + 1
    elseif daily == 0 then
      state = 1
    elseif weekly == 0 then
      state = 2
    else
      local day_free, week_free = 0, 0
      if used_day >= daily then day_free = available(key, used_week, daily, day) end
      if used_week >= weekly then week_free = available(key, used_week, weekly, week) end
      if week_free > day_free then
        state, until_time = 2, week_free
      else
        state, until_time = 1, day_free
      end
    end
  end
  local at = 4 * i
  result[at - 3], result[at - 2], result[at - 1], result[at] = state, used_day, used_week, until_time
end
return result
