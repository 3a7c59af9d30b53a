-- Prolongs a claim of an idempotency key.
--
-- KEYS: the lock. ARGV: the claim's token, how long it holds in ms.
-- Returns 1, or 0 if it has expired.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
