-- Ends a claim of an idempotency key.
--
-- KEYS: the lock and what the key stands for.
-- ARGV: the claim's token, what the key stands for now (empty: as before), how long it does in ms.
-- Returns 1 if that was noted. If the claim had expired, and the key stands for something, that stays.
local is_held = redis.call('GET', KEYS[1]) == ARGV[1]
if is_held then redis.call('DEL', KEYS[1]) end
if ARGV[2] == '' then return 0 end
if is_held then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
elseif not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then
  return 0
end
return 1
