-- Notes whether a worker has viewers of any number of generations of one partition, which other workers run.
--
-- KEYS: for each its meta and its viewers.
-- ARGV: the worker's name, how long that counts in ms, the time to live of a running generation in ms; then for each
--   1 or 0, and how often the first viewer has come since the last call.
-- Returns for each two values: 0 if it is not kept, 1 if it runs, 2 if it is closed; and the worker that must be told
--   of a change, or an empty string.
local MISSING, RUNS, CLOSED = 0, 1, 2
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local worker, counts, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local at = 4
local reply = {}
for k = 1, #KEYS, 2 do
  local meta, viewers = KEYS[k], KEYS[k + 1]
  local has_viewers, visits = ARGV[at] == '1', tonumber(ARGV[at + 1])
  at = at + 2
  local known = redis.call('HMGET', meta, 'w', 's')
  local code, tell = MISSING, ''
  if known[1] and known[2] then
    code = CLOSED
  elseif known[1] then
    code = RUNS
    local has_changed = visits > 0
    if visits > 0 then redis.call('HINCRBY', meta, 'v', visits) end
    if has_viewers then
      if redis.call('HSET', viewers, worker, now + counts) == 1 then has_changed = true end
      redis.call('PEXPIRE', viewers, ttl)
    elseif redis.call('HDEL', viewers, worker) == 1 then
      has_changed = true
    end
    if has_changed and known[1] ~= worker then tell = known[1] end
  end
  reply[#reply + 1] = code
  reply[#reply + 1] = tell
end
return reply
