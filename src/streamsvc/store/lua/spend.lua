-- Spends a ticket: only the first opener can.
--
-- KEYS: the ticket. ARGV: the opener, the ticket as it is from now on, how long it is kept in ms.
-- Returns 1 if this opener has spent it; 0 if another one has, or there is no such ticket.
local known = redis.call('HMGET', KEYS[1], 't', 'o')
if not known[1] then return 0 end
if known[2] then return known[2] == ARGV[1] and 1 or 0 end -- equal: the reply to the same call was lost
redis.call('HSET', KEYS[1], 't', ARGV[2], 'o', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
