-- Reads records of one generation.
--
-- KEYS: its meta and its log.
-- ARGV: the number of the record to begin with, as its id in the log; how many at most.
-- Returns whether it is kept (1 or 0), whether it is closed, its epoch, the number of its last record, how many ms
--   its lease lasts, and the entries.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'e', 'n', 'd', 's')
if not known[1] then return {0, 0, 0, -1, 0, {}} end
return {
  1,
  known[4] and 1 or 0,
  tonumber(known[1]),
  tonumber(known[2]),
  tonumber(known[3]) - now,
  redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[2]),
}
