-- Admits a generation or a viewer, or ends any number of admissions.
--
-- KEYS: for each its admission, the leases of its principal, the buckets of its principal, the buckets of all.
-- ARGV: "admit", the name, how many leases there may be (0: none is taken), the lease in ms, the time to live of the
--   admission in ms; then for each bucket its limit per minute (0: none) and the cost: requests of the principal,
--   requests of all, tokens of the principal, tokens of all.
--   Or "end"; then for each its name and the tokens it has used (UNKNOWN: as charged, CANCELLED: it never began).
-- Returns for "admit" the number of what refuses, and how many microseconds until it would not: 0 to 3 a bucket, 4 the
--   leases (0: unknown), -1 nothing. For "end" how many there were.
--
-- A bucket holds its limit and drains as much in a minute. Its level, in sixty-millionths of a microsecond's share
-- (UNIT a request or token), is stored with its time in microseconds and the limit it drains by.
-- An admission has, in MessagePack, whether it has a lease; then for each bucket its limit and the cost.
local UNIT, UNKNOWN, CANCELLED = 60000000, -1, -2
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function place(k, bucket) -- the key and the field of a bucket
  return KEYS[k + 2 + bucket % 2], bucket < 2 and 'requests' or 'tokens'
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

if ARGV[1] == 'admit' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return {-1, 0} end -- the reply to the same call was lost
  local name, leases, lease, ttl = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
  local refuses, longest = -1, 0
  local admission, filled = { leases > 0 }, {}
  for bucket = 0, 3 do
    local limit, cost = tonumber(ARGV[6 + 2 * bucket]), tonumber(ARGV[7 + 2 * bucket])
    admission[2 + 2 * bucket], admission[3 + 2 * bucket] = limit, cost
    if limit > 0 then
      local key, field = place(1, bucket)
      local full = level(key, field) + cost * UNIT
      local wait = math.ceil((full - limit * UNIT) / limit)
      if wait > longest then refuses, longest = bucket, wait end
      filled[#filled + 1] = { key, field, full, limit }
    end
  end
  if refuses < 0 and leases > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', math.floor(now / 1000))
    if redis.call('ZCARD', KEYS[2]) >= leases then refuses = 4 end
  end
  if refuses >= 0 then return { refuses, longest } end
  for _, bucket in ipairs(filled) do fill(unpack(bucket)) end
  if leases > 0 then
    redis.call('ZADD', KEYS[2], math.floor(now / 1000) + lease, name)
    redis.call('PEXPIRE', KEYS[2], lease)
  end
  redis.call('SET', KEYS[1], cmsgpack.pack(admission), 'PX', ttl)
  return { -1, 0 }
end

local ended = 0
for k = 1, #KEYS, 4 do
  local stored = redis.call('GET', KEYS[k])
  if stored then -- else it has ended before
    ended = ended + 1
    local admission, tokens = cmsgpack.unpack(stored), tonumber(ARGV[(k + 5) / 2])
    redis.call('DEL', KEYS[k])
    redis.call('ZREM', KEYS[k + 1], ARGV[(k + 3) / 2])
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
end
return ended
