-- Keeps a ticket.
--
-- KEYS: the ticket. ARGV: what it opens, how long it may wait in ms.
redis.call('HSET', KEYS[1], 't', ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
