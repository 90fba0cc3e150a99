-- Judges permits of several counters in order; counters.py is the same in Python.
--
-- KEYS     the sorted sets of all counters of all permits: request id -> time
-- ARGV     now (microseconds), then for each permit:
--            request id, how many channels were asked for, how many groups of counters;
--            for each group (the whole first, then a channel each): how many counters;
--            for each counter: for how long it remembers, how many windows;
--            for each window: its span, how many permits it has
-- returns  for each permit: 1 allowed or 0; used in a day and in a week of its first
--          counter; the full window of the whole or 0, when it has room again or 0; how
--          many channels have none; for each of these: its group, its full window, when
--          it has room again or 0. Windows and groups are numbered from 1 in a permit.
local call = redis.call
local now = tonumber(ARGV[1])
local slack = 86400000
local result = {}
local argument, k = 1, 0

local function number()
  argument = argument + 1
  return tonumber(ARGV[argument])
end

-- Lua writes large numbers with too few digits by itself.
local function text(value)
  return string.format('%.0f', value)
end

-- The full window that takes longest to have room, and when that is: 0 for never.
local function fuller(key, window, span, most, full, free)
  if full > 0 and free == 0 then return full, free end
  if most == 0 then return window, 0 end
  local oldest = call('ZRANGE', key, -most, -most, 'WITHSCORES')
  local at = tonumber(oldest[2]) + span
  if at > free then return window, at end
  return full, free
end

while argument < #ARGV do
  argument = argument + 1
  local id = ARGV[argument]
  local asked, groups = number(), number()
  local window, day, week = 0, 0, 0
  local whole_full, whole_free, whole_held = 0, 0, false
  local refused, counted = {}, {}
  for group = 1, groups do
    local held, full, free = false, 0, 0
    local own = {}
    for counter = 1, number() do
      k = k + 1
      local key = KEYS[k]
      local retention, windows = number(), number()
      own[counter] = {key, text(retention / 1000 + slack)}
      local kept = call('ZCARD', key)
      if kept > 0 then
        kept = kept - call('ZREMRANGEBYSCORE', key, '-inf', text(now - retention))
      end
      if kept > 0 and call('ZSCORE', key, id) then held = true end
      for at = 1, windows do
        local span, most = number(), number()
        window = window + 1
        local used = kept
        if kept > 0 and span < retention then
          used = call('ZCOUNT', key, '(' .. text(now - span), '+inf')
        end
        if group == 1 and counter == 1 then
          if at == 1 then day = used elseif at == 2 then week = used end
        end
        if used >= most then
          full, free = fuller(key, window, span, most, full, free)
        end
      end
    end
    if held then
      whole_held = whole_held or group == 1
    elseif full == 0 then
      for i = 1, #own do counted[#counted + 1] = own[i] end
    elseif group == 1 then
      whole_full, whole_free = full, free
    else
      refused[#refused + 1] = {group, full, free}
    end
  end
  local allowed = 0
  if whole_full > 0 then
    refused = {}
  elseif #refused == 0 or #refused < asked then
    allowed = 1
    for i = 1, #counted do
      call('ZADD', counted[i][1], ARGV[1], id)
      call('PEXPIRE', counted[i][1], counted[i][2])
    end
    if not whole_held then day, week = day + 1, week + 1 end
  end
  local at = #result
  result[at + 1], result[at + 2], result[at + 3] = allowed, day, week
  result[at + 4], result[at + 5], result[at + 6] = whole_full, whole_free, #refused
  for i = 1, #refused do
    at = #result
    result[at + 1], result[at + 2], result[at + 3] = refused[i][1], refused[i][2], refused[i][3]
  end
end
return result
