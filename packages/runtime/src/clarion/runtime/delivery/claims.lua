-- Claims the jobs of one tenant in one go; one letter of the answer for each.
--
-- KEYS  of job i: [3i-2] claim, [3i-1] cancelled, [3i] suppressed
-- ARGV  [1] lease in ms, [2] time to live of the keys in ms,
--       then of job i: [3i] owner, [3i+1] attempt, [3i+2] "1" when it has expired
-- Value of a claim:
--       L<owner> <attempt> <end of the lease, ms>    is being sent
--       W<attempt>                                   waits for that attempt
--       D<outcome>                                   is over
-- Answer: {letters, {detail of each letter that has one, in order}}
--       C claimed            T claimed, the lease of another had run out
--       D over (outcome)     L leased by another (ms left)    W waits for a later attempt
--       X cancelled          S suppressed                     E expired
--
-- Running it twice for the same owner gives the same answer, but for T and C.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local letters, details = {}, {}
local lease, ttl = tonumber(ARGV[1]), ARGV[2]
for i = 1, #KEYS / 3 do
  local key = KEYS[3 * i - 2]
  local owner, attempt = ARGV[3 * i], ARGV[3 * i + 1]
  local held = redis.call('GET', key)
  local letter = 'C'
  if held then
    local kind = string.sub(held, 1, 1)
    if kind == 'D' then
      letter = 'D'
      details[#details + 1] = string.sub(held, 2)
    elseif kind == 'W' then
      if tonumber(attempt) < tonumber(string.sub(held, 2)) then
        letter = 'W'
      end
    else
      local other, ends = string.match(held, '^L(%S+) %S+ (%d+)$')
      if other ~= owner then
        local left = tonumber(ends) - now
        if left > 0 then
          letter = 'L'
          details[#details + 1] = tostring(left)
        else
          letter = 'T'
        end
      end
    end
  end
  if letter == 'C' or letter == 'T' then
    local stopped = redis.call('MGET', KEYS[3 * i - 1], KEYS[3 * i])
    if stopped[1] then
      letter = 'X'
    elseif stopped[2] then
      letter = 'S'
    elseif ARGV[3 * i + 2] == '1' then
      letter = 'E'
    else
      local value = string.format('L%s %s %.0f', owner, attempt, now + lease)
      redis.call('SET', key, value, 'PX', ttl)
    end
  end
  letters[i] = letter
end
return {table.concat(letters), details}
