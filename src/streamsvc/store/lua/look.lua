-- Looks at any number of generations of one partition.
--
-- KEYS: for each its meta.
-- Returns for each: whether it is kept (1 or 0), whether it is closed, its epoch, the number of its last record,
--   and how many ms its lease lasts; 0 or less: it has lapsed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
for k = 1, #KEYS do
  local known = redis.call('HMGET', KEYS[k], 'e', 'n', 'd', 's')
  local at = #reply
  reply[at + 1] = known[1] and 1 or 0
  reply[at + 2] = known[4] and 1 or 0
  reply[at + 3] = tonumber(known[1] or 0)
  reply[at + 4] = tonumber(known[2] or -1)
  reply[at + 5] = tonumber(known[3] or 0) - now
end
return reply
