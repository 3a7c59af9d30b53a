-- Renews the leases of any number of generations of one partition, and returns what their owner must know.
--
-- KEYS: for each its meta, its log, its request and its viewers.
-- ARGV: the lease in ms, the time to live of a running generation in ms (0: as it is), the worker's name; then for
--   each its owner token and its epoch.
-- Returns for each four values: a code; why it must stop, or an empty string; how many other workers have viewers of
--   it; how often the first viewer has come to another worker.
local KEPT, FENCED, GONE, CLOSED = 0, 1, 2, 3
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, ttl, worker = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local at = 4
local reply = {}
for k = 1, #KEYS, 4 do
  local token, epoch = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local known = redis.call('HMGET', KEYS[k], 'o', 'e', 's', 'x', 'v')
  local code, stop, live, visits = KEPT, '', 0, 0
  if not known[1] or known[1] ~= token and tonumber(known[2]) < epoch then
    code = GONE
  elseif known[1] ~= token then
    code = FENCED
  elseif known[3] then
    code = CLOSED
  else
    redis.call('HSET', KEYS[k], 'd', now + lease)
    for i = ttl > 0 and k or k + 4, k + 3 do redis.call('PEXPIRE', KEYS[i], ttl) end
    stop = known[4] or ''
    visits = tonumber(known[5] or 0)
    local viewers = redis.call('HGETALL', KEYS[k + 3])
    for i = 1, #viewers, 2 do
      if viewers[i] ~= worker and tonumber(viewers[i + 1]) > now then live = live + 1 end
    end
  end
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = code, stop, live, visits
end
return reply
