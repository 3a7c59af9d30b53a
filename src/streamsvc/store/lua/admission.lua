-- Ends any number of generations or viewers, then admits any number.
--
-- KEYS: the buckets of all principals; then for each that ends, and each that is to be admitted: its admission, the
--   leases of its principal, the buckets of its principal.
-- ARGV: the lease in ms, the time to live of an admission in ms, and in MessagePack a list of two lists:
--   for each that ends its name and the tokens it has used (UNKNOWN: as charged, CANCELLED: it never began);
--   for each that is to be admitted its name, how many leases there may be (0: none is taken), and for each bucket a
--   list of its limit per minute (0: none) and the cost: requests of the principal, requests of all, tokens of the
--   principal, tokens of all.
-- Returns for each that is to be admitted the number of what refuses, and how many microseconds until it would not: 0 to
--   3 a bucket, 4 the leases (0: unknown), -1 nothing.
--
-- A bucket holds its limit and drains as much in a minute. Its level, in sixty-millionths of a microsecond's share
-- (UNIT a request or token), is stored with its time in microseconds and the limit it drains by.
-- An admission has, in MessagePack, whether it has a lease; then for each bucket its limit and the cost.
local UNIT, UNKNOWN, CANCELLED = 60000000, -1, -2
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lease, ttl = tonumber(ARGV[1]), ARGV[2]

local function place(k, bucket) -- the key and the field of a bucket
  return bucket % 2 == 0 and KEYS[k + 2] or KEYS[1], bucket < 2 and 'requests' or 'tokens'
end

local function level(key, field)
  local stored = redis.call('HGET', key, field)
  if not stored then return 0 end
  local full, at, limit = stored:match('(%S+) (%S+) (%S+)')
  return math.max(0, full - math.max(0, now - at) * limit)
end

local function fill(key, field, full, limit)
  redis.call('HSET', key, field, string.format('%.0f %.0f %.0f', full, now, limit))
  local empty = math.ceil(full / limit / 1000) + 1
  if redis.call('PTTL', key) < empty then redis.call('PEXPIRE', key, empty) end
end

local function finish(k, name, tokens)
  local stored = redis.call('GET', KEYS[k])
  if not stored then return end -- it has ended before
  local admission = cmsgpack.unpack(stored)
  redis.call('DEL', KEYS[k])
  redis.call('ZREM', KEYS[k + 1], name)
  for bucket = 0, 3 do
    local limit, cost = admission[2 + 2 * bucket], admission[3 + 2 * bucket]
    local change = 0
    if tokens == CANCELLED then
      change = -cost
    elseif tokens ~= UNKNOWN and bucket > 1 then
      change = tokens - cost
    end
    if limit > 0 and change ~= 0 then
      local key, field = place(k, bucket)
      fill(key, field, math.max(0, level(key, field) + change * UNIT), limit)
    end
  end
end

local function admit(k, name, leases, charges)
  if redis.call('EXISTS', KEYS[k]) == 1 then return -1, 0 end -- the reply to the same call was lost
  local refuses, longest = -1, 0
  local admission, filled = { leases > 0 }, {}
  for bucket = 0, 3 do
    local limit, cost = unpack(charges[bucket + 1])
    admission[2 + 2 * bucket], admission[3 + 2 * bucket] = limit, cost
    if limit > 0 then
      local key, field = place(k, bucket)
      local full = level(key, field) + cost * UNIT
      local wait = math.ceil((full - limit * UNIT) / limit)
      if wait > longest then refuses, longest = bucket, wait end
      filled[#filled + 1] = { key, field, full, limit }
    end
  end
  if refuses < 0 and leases > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[k + 1], '-inf', math.floor(now / 1000))
    if redis.call('ZCARD', KEYS[k + 1]) >= leases then refuses = 4 end
  end
  if refuses >= 0 then return refuses, longest end
  for _, bucket in ipairs(filled) do fill(unpack(bucket)) end
  if leases > 0 then
    redis.call('ZADD', KEYS[k + 1], math.floor(now / 1000) + lease, name)
    redis.call('PEXPIRE', KEYS[k + 1], lease)
  end
  redis.call('SET', KEYS[k], cmsgpack.pack(admission), 'PX', ttl)
  return -1, 0
end

local ends, asked = unpack(cmsgpack.unpack(ARGV[3]))
local k, reply = 2, {}
for _, one in ipairs(ends) do
  finish(k, unpack(one))
  k = k + 3
end
for _, one in ipairs(asked) do
  local refuses, wait = admit(k, unpack(one))
  reply[#reply + 1] = refuses
  reply[#reply + 1] = wait
  k = k + 3
end
return reply
