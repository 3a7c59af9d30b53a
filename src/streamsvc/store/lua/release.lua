-- Ends the lease of one generation, so that another worker can take it over at once.
--
-- KEYS: its meta. ARGV: the owner's token.
-- Returns 1, or 0 if the token does not own it. After that it owns nothing: a renewal on its way changes nothing.
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'o', '', 'd', 0)
redis.call('HINCRBY', KEYS[1], 'r', 1)
return 1
