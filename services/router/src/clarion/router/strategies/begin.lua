-- Begins the time that is left to reach persons, of notifications of one tenant.
--
-- KEYS  the escalations: hashes with due:<release>, step:<release>, delivered and read
-- ARGV  [1] how long they are kept after the deadline, us; then of each [2i] the release
--       of the step that follows, [2i+1] how long it waits, us
-- Answer: the deadlines, us since 1970; those that are known already stay as they are.
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local deadlines = {}
for i, key in ipairs(KEYS) do
  local due = 'due:' .. ARGV[2 * i]
  redis.call('HSETNX', key, due, string.format('%.0f', now + ARGV[2 * i + 1]))
  local deadline = redis.call('HGET', key, due)
  local lives = math.ceil((deadline - now + ARGV[1]) / 1000)
  if redis.call('PTTL', key) < lives then
    redis.call('PEXPIRE', key, string.format('%.0f', lives))
  end
  deadlines[i] = deadline
end
return deadlines
