/**
 * The Lua scripts of mirrored sessions. ARGV begins for each of them with:
 *  1. the key of the copy, a hash with its replica and its record
 *  2. the key of the transcript of the copy
 *  3. the key `mirrorBytes`
 *  4. the key `mirrorTimes`
 *  5. the id of the session
 *  6. the name of this replica
 */

const common = `
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function forget(copy, transcript, id)
  redis.call('DEL', copy, transcript)
  redis.call('HDEL', ARGV[3], id)
  redis.call('ZREM', ARGV[4], id)
end
local owner = redis.call('HGET', ARGV[1], 'replica')
`;

/**
 * Adds a part to the transcript of a copy. The copies of sessions that were used least recently are removed until there is
 * room. ARGV further:
 *  7. the byte at which the part begins
 *  8. the maximum bytes of all copies
 *  9. the milliseconds for which a copy stays
 * 10. the prefix of the keys of copies
 * 11. the prefix of the keys of transcripts
 * 12. the record
 * 13. the part
 * Returns `kept`; `elsewhere` if the copy belongs to another replica; `gap` if bytes before the part are missing; `no room`.
 */
export const addToMirror = `${common}
local from, most = tonumber(ARGV[7]), tonumber(ARGV[8])
if owner and owner ~= ARGV[6] then return 'elsewhere' end
if from == 0 then forget(ARGV[1], ARGV[2], ARGV[5]) end
if redis.call('STRLEN', ARGV[2]) ~= from then return 'gap' end
local size = from + #ARGV[13]
local sum = size
local known = redis.call('HGETALL', ARGV[3])
local bytes = {}
for i = 1, #known, 2 do
  bytes[known[i]] = tonumber(known[i + 1]) or 0
  if known[i] ~= ARGV[5] then sum = sum + bytes[known[i]] end
end
if size > most then
  forget(ARGV[1], ARGV[2], ARGV[5])
  return 'no room'
end
if sum > most then
  for _, other in ipairs(redis.call('ZRANGE', ARGV[4], 0, -1)) do
    if sum <= most then break end
    if other ~= ARGV[5] then
      sum = sum - (bytes[other] or 0)
      forget(ARGV[10] .. other, ARGV[11] .. other, other)
    end
  end
end
redis.call('APPEND', ARGV[2], ARGV[13])
redis.call('HSET', ARGV[1], 'replica', ARGV[6], 'record', ARGV[12])
redis.call('HSET', ARGV[3], ARGV[5], size)
redis.call('ZADD', ARGV[4], clock(), ARGV[5])
for i = 1, 4 do redis.call('PEXPIRE', ARGV[i], ARGV[9]) end
return 'kept'
`;

/**
 * Gives a copy to this replica, unless another replica has taken it meanwhile. ARGV further:
 *  7. the name of the replica that had the copy
 *  8. the key `homes`
 * Returns the record and the transcript, or nil.
 */
export const takeMirror = `${common}
if not owner or (owner ~= ARGV[6] and owner ~= ARGV[7]) then return false end
redis.call('HSET', ARGV[1], 'replica', ARGV[6])
-- Only jobs need to know the replica of a session.
if redis.call('HEXISTS', ARGV[8], ARGV[5]) == 1 then redis.call('HSET', ARGV[8], ARGV[5], ARGV[6]) end
return { redis.call('HGET', ARGV[1], 'record') or '', redis.call('GET', ARGV[2]) or '' }
`;

/** Removes a copy of this replica. */
export const removeMirror = `${common}
if owner == ARGV[6] then forget(ARGV[1], ARGV[2], ARGV[5]) end
return 1
`;
