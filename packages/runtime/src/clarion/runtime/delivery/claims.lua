-- Claims the jobs of one tenant in one go; one letter of the answer for each.
--
-- KEYS  of job i of n: [3i-2] claim, [3i-1] cancelled, [3i] suppressed; after those of
--       all jobs, of each job that has a collapse key, the latest under it, and then
--       of each that is ordered its order
-- ARGV  [1] lease in ms, [2] time to live of the keys in ms, and of all jobs, as every
--       argument costs the client: [3] the owners and [4] the attempts with a space
--       between them, [5] a "1" for each that has expired, a "2" for each whose address
--       may have unsubscribed (critical mail) and a "0" for the others
--       [6] only with collapse keys or orders: "<i> <accepted, us> <notification> " of
--       each job with a key; [7] only with orders: "<i> <notification> " of each
-- Value of suppressed: the reason.
-- Value of a claim:
--       L<owner> <attempt> <end of the lease, ms>    is being sent
--       W<attempt>                                   waits for that attempt
--       D<outcome>                                   is over
-- Answer: {letters, {detail of each letter that has one, in order}}
--       C claimed            T claimed, the lease of another had run out
--       D over (outcome)     L leased by another (ms left)    W waits for a later attempt
--       X cancelled          S suppressed                     E expired
--       N superseded by a newer one with its collapse key
--       O not its turn (how many are in front)
--
-- Running it twice for the same owner gives the same answer, but for T and C.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local letters, details = {}, {}
local lease, ttl = tonumber(ARGV[1]), ARGV[2]
local owners, attempts = string.gmatch(ARGV[3], '%S+'), string.gmatch(ARGV[4], '%S+')
local count = #ARGV[5]
local newer, ahead
if ARGV[6] then
  newer = {}
  local place = 3 * count
  for i, at, id in string.gmatch(ARGV[6], '(%d+) (%d+) (%S+)') do
    place = place + 1
    local latest = redis.call('GET', KEYS[place])
    if latest then
      local last, other = string.match(latest, '^(%d+) (%S+)$')
      at, last = tonumber(at), tonumber(last)
      newer[tonumber(i)] = other ~= id and (last > at or last == at and other > id)
    end
  end
  if ARGV[7] then
    ahead = {}
    -- Who took its place a day ago holds nobody back any more.
    local stale = string.format('(%.0f', (now - 86400000) * 1000)
    for i, id in string.gmatch(ARGV[7], '(%d+) (%S+)') do
      place = place + 1
      local rank = redis.call('ZRANK', KEYS[place], id)
      if rank and rank > 0 then
        rank = rank - redis.call('ZCOUNT', KEYS[place], '-inf', stale)
      end
      if rank and rank > 0 then
        ahead[tonumber(i)] = rank
      end
    end
  end
end
for i = 1, count do
  local key = KEYS[3 * i - 2]
  local owner, attempt = owners(), attempts()
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
    elseif stopped[2] and not (stopped[2] == 'unsubscribe'
        and string.byte(ARGV[5], i) == 50) then
      letter = 'S'
    elseif newer and newer[i] then
      letter = 'N'
    elseif string.byte(ARGV[5], i) == 49 then
      letter = 'E'
    elseif ahead and ahead[i] then
      letter = 'O'
      details[#details + 1] = tostring(ahead[i])
    else
      local value = string.format('L%s %s %.0f', owner, attempt, now + lease)
      redis.call('SET', key, value, 'PX', ttl)
    end
  end
  letters[i] = letter
end
return {table.concat(letters), details}
