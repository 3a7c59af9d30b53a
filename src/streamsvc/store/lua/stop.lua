-- Notes that one generation must stop; the first reason is kept.
--
-- KEYS: its meta. ARGV: why.
-- Returns nothing if it is not kept or closed; else the worker that runs it.
local known = redis.call('HMGET', KEYS[1], 'w', 's')
if not known[1] or known[2] then return false end
redis.call('HSETNX', KEYS[1], 'x', ARGV[1])
return known[1]
