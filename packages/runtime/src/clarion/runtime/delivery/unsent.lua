-- Counts deliveries that ended without being sent, of notifications of one tenant.
--
-- KEYS  the counts: hashes with planned, last, back, and a field for each delivery
-- ARGV  [1] how long one is kept that goes on, ms; [2] one that nothing follows; then
--       of each key how many are planned so far, 1 when nothing follows or else 0, what
--       is to be given back (nothing: not known here), how many ended, and which
-- Answer: for each what is to be given back, where all of them ended; else false.
-- Repeating it counts nothing twice; of several figures the largest holds.
local call = redis.call
local at = 2
local answers = {}
for i, key in ipairs(KEYS) do
  local planned, last, back = tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local ended = tonumber(ARGV[at + 4])
  at = at + 4
  local known = call('HMGET', key, 'planned', 'last', 'back')
  planned = math.max(planned, tonumber(known[1] or 0))
  if known[2] == '1' then last = '1' end
  if back == '' then back = known[3] or '' end
  call('HSET', key, 'planned', planned, 'last', last, 'back', back)
  for n = 1, ended do
    call('HSET', key, ARGV[at + n], '')
  end
  at = at + ended
  local count = call('HLEN', key) - 3
  call('PEXPIRE', key, last == '1' and ARGV[2] or ARGV[1])
  answers[i] = last == '1' and count > 0 and count >= planned and back
end
return answers
