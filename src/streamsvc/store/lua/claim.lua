-- Acquires the lock of an idempotency key.
--
-- KEYS: the lock and what the key stands for. ARGV: the claim's token, how long it holds in ms.
-- Returns nothing if another claim holds it; else what the key stands for, or an empty string.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then -- else the reply to the same call was lost
  if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
end
return redis.call('GET', KEYS[2]) or ''
