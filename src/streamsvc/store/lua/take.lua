-- Takes over one generation whose lease has lapsed.
--
-- KEYS: its meta, its log and its request.
-- ARGV: the new owner's token and worker, the lease in ms, the time to live of a running generation in ms.
-- Returns nothing if it is not kept, closed, or its lease lasts; else its new epoch, the number of its last record,
--   why it must stop (or an empty string), the request (or an empty string), and how often an owner has released it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local meta, log, request = KEYS[1], KEYS[2], KEYS[3]
local known = redis.call('HMGET', meta, 'o', 'e', 'n', 'd', 's', 'x', 'r')
if not known[1] or known[5] then return false end
local epoch = tonumber(known[2])
if known[1] ~= ARGV[1] then -- else the reply to the same call was lost
  if tonumber(known[4]) > now then return false end
  epoch = epoch + 1
  redis.call('HSET', meta, 'o', ARGV[1], 'w', ARGV[2], 'e', epoch, 'd', now + tonumber(ARGV[3]))
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[4]) end
end
return { epoch, tonumber(known[3]), known[6] or '', redis.call('GET', request) or '', tonumber(known[7] or 0) }
