-- Adds a message to a short stream that one worker reads.
--
-- KEYS: the stream. ARGV: how long it lives without messages in ms, then the fields and values of the message.
local add = { 'XADD', KEYS[1], 'MAXLEN', '~', '1000', '*' }
for i = 2, #ARGV do add[#add + 1] = ARGV[i] end
redis.call(unpack(add))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
