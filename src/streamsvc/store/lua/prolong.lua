-- Prolongs any number of admissions of generations or viewers, and their leases.
--
-- KEYS: for each its admission, the leases of its principal, the buckets of its principal.
-- ARGV: the lease in ms, the time to live of an admission in ms; then the name of each.
-- Returns for each 1, or 0 if it is not known any more.
local time = redis.call('TIME')
local lease, ttl = tonumber(ARGV[1]), ARGV[2]
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + lease
local reply = {}
for k = 1, #KEYS, 3 do
  local stored = redis.call('GET', KEYS[k])
  if stored then
    redis.call('PEXPIRE', KEYS[k], ttl)
    if cmsgpack.unpack(stored)[1] then
      redis.call('ZADD', KEYS[k + 1], ends, ARGV[(k + 8) / 3])
      redis.call('PEXPIRE', KEYS[k + 1], lease)
    end
  end
  reply[#reply + 1] = stored and 1 or 0
end
return reply
