-- Appends records to any number of generations of one partition: for each all of them, or none.
--
-- KEYS: for each generation its meta and its log.
-- ARGV: the lease in ms, the time to live of a running generation in ms, the worker's name, and in MessagePack a list
--   with, for each generation, a list: owner token, epoch, the number of the record before the first one (-1: none),
--   the number of the first one, the time to live in ms if the last one closes the log (else 0), the records.
-- The first record of an epoch has a second field p, the number of the record before it.
-- Returns for each generation two numbers: a code and the number of the last record.
--
-- The fields of a meta: o owner token, w worker, e epoch, n number of the last record, d end of the lease (ms since
--   1970), s 1 if closed, x why it must stop, v how often the first viewer has come to another worker,
--   r how often an owner has released it.
local OK, FENCED, GAP, GONE, CLOSED = 0, 1, 2, 3, 4
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, ttl, worker = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local reply = {}
for number, piece in ipairs(cmsgpack.unpack(ARGV[4])) do
  local meta, log = KEYS[2 * number - 1], KEYS[2 * number]
  local token, epoch, previous, first, closing, records = unpack(piece)
  local final = first + #records - 1
  local known = redis.call('HMGET', meta, 'o', 'e', 'n', 's')
  local last = tonumber(known[3])
  local code = OK
  local is_new = not known[1]
  if known[1] and known[1] ~= token and tonumber(known[2]) < epoch then
    -- A former owner has written what a flushed server had lost. Its records are a part of ours.
    redis.call('DEL', meta, log)
    is_new = true
  end
  if is_new then
    last = -1
    if previous ~= -1 then code = GONE else redis.call('DEL', log) end -- what evicted or deleted metas have left
  elseif known[1] ~= token then
    code = FENCED
  elseif known[4] and final > last then
    code = CLOSED
  elseif previous > last then
    code = GAP
  end
  if code == OK then
    for i = math.max(1, last - first + 2), #records do
      local seq = first + i - 1
      local id = seq == 0 and '0-1' or string.format('%.0f-0', seq)
      if i == 1 and first ~= previous + 1 then
        redis.call('XADD', log, id, 'e', records[i], 'p', string.format('%.0f', previous))
      else
        redis.call('XADD', log, id, 'e', records[i])
      end
    end
    last = math.max(last, final)
    local n = string.format('%.0f', last)
    if is_new then
      redis.call('HSET', meta, 'o', token, 'w', worker, 'e', epoch, 'n', n, 'd', now + lease)
      redis.call('PEXPIRE', meta, ttl)
      redis.call('PEXPIRE', log, ttl)
    elseif not known[4] then
      redis.call('HSET', meta, 'n', n, 'd', now + lease)
    end
    if closing > 0 and not known[4] then
      redis.call('HSET', meta, 's', 1)
      redis.call('PEXPIRE', meta, closing)
      redis.call('PEXPIRE', log, closing)
    end
  end
  reply[#reply + 1] = code
  reply[#reply + 1] = last
end
return reply
