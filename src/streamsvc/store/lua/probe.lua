-- Shows that this user may run scripts, and that the server accepts writes.
--
-- KEYS: a key of the worker. ARGV: how long it lives in ms.
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
return 1
