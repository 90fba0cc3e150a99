-- Claims the jobs of one tenant in one go; one letter of the answer for each.
--
-- KEYS  of job i of n: [3i-2] claim, [3i-1] cancelled, [3i] suppressed; after those of
--       all jobs, of each job that has a collapse key, the latest under it, and then
--       of each that is ordered its order
-- ARGV  [1] lease in ms, [2] time to live of the keys in ms, [3] a "1" for each job that
--       has expired, a "2" for each whose address may have unsubscribed (critical mail)
--       and a "0" for the others
--       [4] only with collapse keys or orders, else empty: "<i> <accepted, us>
--       <notification> " of each job with a key; [5] the same with orders: "<i>
--       <notification> " of each; [5+i] "<owner> <attempt> " of job i
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
local ttl, flags = ARGV[2], ARGV[3]
local count = #flags
local ends = string.format('%.0f', now + ARGV[1])
local is_plain = not string.find(flags, '[12]')
local newer, ahead
if ARGV[4] ~= '' or ARGV[5] ~= '' then
  newer = {}
  local place = 3 * count
  for i, at, id in string.gmatch(ARGV[4], '(%d+) (%d+) (%S+)') do
    place = place + 1
    local latest = redis.call('GET', KEYS[place])
    if latest then
      local last, other = string.match(latest, '^(%d+) (%S+)$')
      at, last = tonumber(at), tonumber(last)
      newer[tonumber(i)] = other ~= id and (last > at or last == at and other > id)
    end
  end
  if ARGV[5] ~= '' then
    ahead = {}
    -- Who took its place a day ago holds nobody back any more.
    local stale = string.format('(%.0f', (now - 86400000) * 1000)
    for i, id in string.gmatch(ARGV[5], '(%d+) (%S+)') do
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
-- All keys at once; what is claimed here is not among it, so that a copy finds it there.
local found = redis.call('MGET', unpack(KEYS, 1, 3 * count))
local claimed = {}
local leases, size = {'MSETEX', 0}, 2
for i = 1, count do
  local place = 3 * i - 2
  local key = KEYS[place]
  local held = claimed[key] or found[place]
  local letter = 'C'
  if held then
    local kind = string.sub(held, 1, 1)
    local owner, attempt = string.match(ARGV[5 + i], '^(%S+) (%S+) $')
    if kind == 'D' then
      letter = 'D'
      details[#details + 1] = string.sub(held, 2)
    elseif kind == 'W' then
      if tonumber(attempt) < tonumber(string.sub(held, 2)) then
        letter = 'W'
      end
    else
      local other, over = string.match(held, '^L(%S+) %S+ (%d+)$')
      if other ~= owner then
        local left = tonumber(over) - now
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
    local reason = found[place + 2]
    if found[place + 1] then
      letter = 'X'
    elseif reason and not (reason == 'unsubscribe'
        and string.byte(flags, i) == 50) then
      letter = 'S'
    elseif newer and newer[i] then
      letter = 'N'
    elseif not is_plain and string.byte(flags, i) == 49 then
      letter = 'E'
    elseif ahead and ahead[i] then
      letter = 'O'
      details[#details + 1] = tostring(ahead[i])
    else
      local value = 'L' .. ARGV[5 + i] .. ends
      claimed[key] = value
      leases[size + 1], leases[size + 2] = key, value
      size = size + 2
    end
  end
  letters[i] = letter
end
if size > 2 then
  leases[2] = (size - 2) / 2
  leases[size + 1], leases[size + 2] = 'PX', ttl
  -- One command where the server has it (see many_keys.py), else one for each.
  local answer = redis.pcall(unpack(leases))
  if type(answer) == 'table' and answer.err then
    for place = 3, size, 2 do
      redis.call('SET', leases[place], leases[place + 1], 'PX', ttl)
    end
  end
end
return {table.concat(letters), details}
