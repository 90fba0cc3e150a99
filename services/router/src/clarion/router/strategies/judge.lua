-- Decides whether steps of escalations are taken, of notifications of one tenant.
--
-- KEYS  the escalations: hashes as in begin.lua
-- ARGV  [1] how long they are kept, us; then of each [4i-2] the release of the step,
--       [4i-1] its cause, [4i] what stops it (delivered or read), [4i+1] the deadline,
--       us since 1970, in case that it is not known any more
-- Answer: a letter for each
--       G goes on            T another cause took the step before
--       R read before        D delivered before           E<us> early, so much is left
--
-- Running it twice for the same cause gives the same answer, but for E: a mark keeps
-- the time of the first, and what went on is written down.
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local answers = {}
for i, key in ipairs(KEYS) do
  local release, cause, stop = ARGV[4 * i - 2], ARGV[4 * i - 1], ARGV[4 * i]
  local known =
    redis.call('HMGET', key, 'step:' .. release, 'due:' .. release, 'read', 'delivered')
  local answer
  if known[1] then
    answer = known[1] == cause and 'G' or 'T'
  else
    local deadline = tonumber(known[2] or ARGV[4 * i + 1])
    -- A fallback looks at what was marked up to now, and as a timer would: or the two
    -- of one step could be answered differently.
    local before = deadline
    if cause ~= 'timer' and (not known[2] or now < deadline) then
      before = now + 1
    end
    if known[3] and tonumber(known[3]) < before then
      answer = 'R'
    elseif stop == 'delivered' and known[4] and tonumber(known[4]) < before then
      answer = 'D'
    elseif cause == 'timer' and now < deadline then
      answer = 'E' .. string.format('%.0f', deadline - now)
    else
      answer = 'G'
      redis.call('HSET', key, 'step:' .. release, cause)
      if redis.call('PTTL', key) < 0 then
        redis.call('PEXPIRE', key, string.format('%.0f', ARGV[1] / 1000))
      end
    end
  end
  answers[i] = answer
end
return answers
