-- Reads or changes the latest answer of a chat.
--
-- KEYS: the chat.
-- ARGV: "answer", "mark", "drop" or "put"; the turn of an answer that has been sent (empty: none), and how long it is
--   kept after that in ms; for "put" also the new answer, its generation, its turn, and how long it is kept in ms.
-- Returns for "answer" the answer and whether it was sent ("1" or nothing), else the generation of the answer; nothing
--   if there is none.
local chat, what, sent_turn, grace = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = redis.call('HMGET', chat, 'a', 'g', 't')
if known[3] and known[3] == sent_turn then
  redis.call('HSET', chat, 's', 1)
  redis.call('PEXPIRE', chat, grace)
  if grace <= 0 then known = {false, false, false} end
end
if what == 'answer' then
  return {known[1], redis.call('HGET', chat, 's')}
end
if what == 'put' and known[3] == ARGV[6] then return false end -- the reply to the same call was lost
if what == 'drop' or what == 'put' then redis.call('DEL', chat) end
if what == 'put' then
  redis.call('HSET', chat, 'a', ARGV[4], 'g', ARGV[5], 't', ARGV[6])
  redis.call('PEXPIRE', chat, ARGV[7])
end
return known[2]
