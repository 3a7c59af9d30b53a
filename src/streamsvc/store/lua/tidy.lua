-- Deletes what any number of generations of one partition need only while they run.
--
-- KEYS: for each its meta, its request and its viewers.
-- Returns for each whether it does not run any more (1 or 0); if it runs, nothing is deleted.
local reply = {}
for k = 1, #KEYS, 3 do
  local known = redis.call('HMGET', KEYS[k], 'o', 's')
  local runs = known[1] and not known[2]
  if not runs then redis.call('DEL', KEYS[k + 1], KEYS[k + 2]) end
  reply[#reply + 1] = runs and 0 or 1
end
return reply
