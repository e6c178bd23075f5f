/**
 * The Lua scripts. Redis runs each of them in one step: after a crash of the server all of a script is there or nothing.
 * Invariant: a job is written only by `write`, which compares its revision, or by `add`, which requires that it is new.
 */

/**
 * Runs the commands in ARGV from `i` on: for each its number of words, then the words. Besides Redis's own commands:
 * `WAKE session due jobs` makes the first job of a session due. `BLOCK session due id` removes a job from the due ones
 * unless it is the first of its session. `TURN turns turn token` gives the token the last turn.
 */
const runCommands = `
local function run(i)
  while ARGV[i] do
    local count = tonumber(ARGV[i])
    local words = {}
    for j = 1, count do words[j] = ARGV[i + j] end
    i = i + count + 1
    if words[1] == 'WAKE' then
      local first = redis.call('ZRANGE', words[2], 0, 0)[1]
      local at = first and redis.call('HGET', words[4] .. first, 'due')
      if at then redis.call('ZADD', words[3], 'NX', at, first) end
    elseif words[1] == 'BLOCK' then
      if redis.call('ZRANGE', words[2], 0, 0)[1] ~= words[4] then
        redis.call('ZREM', words[3], words[4])
      end
    elseif words[1] == 'TURN' then
      redis.call('ZADD', words[2], redis.call('INCR', words[3]), words[4])
    else
      redis.call(unpack(words))
    end
  end
end
`;

/** ARGV: the key of the job, the revision that it must have, commands. Returns 1, or 0 for another revision. */
export const write = `${runCommands}
if (redis.call('HGET', ARGV[1], 'rev') or '') ~= ARGV[2] then return 0 end
run(3)
return 1
`;

/**
 * ARGV: the key of the job, the key of the idempotency key or '', its digest, the id of the job, the most waiting jobs,
 * the number of sets with waiting jobs, these sets, commands. Returns `added`, `full`, `mismatch`, or the id of the job
 * that has the key.
 */
export const add = `${runCommands}
local sets = tonumber(ARGV[6])
if ARGV[2] ~= '' then
  local known = redis.call('HMGET', ARGV[2], 'digest', 'id')
  if known[1] then
    if known[1] ~= ARGV[3] then return 'mismatch' end
    return known[2]
  end
end
if redis.call('EXISTS', ARGV[1]) == 1 then return ARGV[4] end
local waiting = 0
for i = 1, sets do waiting = waiting + redis.call('ZCARD', ARGV[6 + i]) end
if waiting >= tonumber(ARGV[5]) then return 'full' end
if ARGV[2] ~= '' then redis.call('HSET', ARGV[2], 'digest', ARGV[3], 'id', ARGV[4]) end
run(7 + sets)
return 'added'
`;

/**
 * What a claim needs to know, in one step. ARGV: now, the most due jobs, the longest pause of a queued job, the keys due,
 * later, expiry, lanes, turns, replicas, and the prefix of BullMQ. Returns the ids of jobs that are due, the ids of expired
 * jobs, the clock of Redis, the replicas with their last sign of life, and for each queue with entries: its name, what it
 * holds, its first entry, and the last turn of its token.
 */
export const scan = `
local now, most = tonumber(ARGV[1]), ARGV[2]
local due = redis.call('ZRANGEBYSCORE', ARGV[4], '-inf', now, 'LIMIT', 0, most)
local function append(ids)
  for i = 1, #ids do due[#due + 1] = ids[i] end
end
append(redis.call('ZRANGEBYSCORE', ARGV[4], '(' .. (now + ARGV[3]), '+inf', 'LIMIT', 0, most))
append(redis.call('ZRANGEBYSCORE', ARGV[5], '-inf', now, 'LIMIT', 0, most))
local expired = redis.call('ZRANGEBYSCORE', ARGV[6], '-inf', now, 'LIMIT', 0, most)
local lanes = {}
local known = redis.call('HGETALL', ARGV[7])
for i = 1, #known, 2 do
  local queue = ARGV[10] .. ':' .. known[i]
  local first = redis.call('LINDEX', queue .. ':wait', -1)
    or redis.call('ZRANGE', queue .. ':prioritized', 0, 0)[1]
  if first then
    local token = cjson.decode(known[i + 1]).token
    lanes[#lanes + 1] = { known[i], known[i + 1], first, redis.call('ZSCORE', ARGV[8], token) or '0' }
  end
end
local time = redis.call('TIME')
return { due, expired, tostring(time[1] * 1000 + math.floor(time[2] / 1000)),
  redis.call('ZRANGE', ARGV[9], 0, -1, 'WITHSCORES'), lanes }
`;

/** Reports that a replica is alive. ARGV: the key replicas, the name of the replica. */
export const beat = `
local time = redis.call('TIME')
redis.call('ZADD', ARGV[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[2])
return 1
`;

/** Appends events. ARGV: the key of the job, that of its events, the channel, the id, the most events, each event. */
export const appendEvents = `
if redis.call('EXISTS', ARGV[1]) == 0 then return 0 end
for i = 6, #ARGV do
  local id = redis.call('HINCRBY', ARGV[1], 'events', 1)
  redis.call('XADD', ARGV[2], 'MAXLEN', ARGV[5], id .. '-0', 'event', ARGV[i])
end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
`;

/** Forgets a queue without entries. ARGV: the key lanes, the name of the queue, the prefix of BullMQ. */
export const forgetLane = `
local queue = ARGV[3] .. ':' .. ARGV[2]
if redis.call('EXISTS', queue .. ':wait', queue .. ':active', queue .. ':prioritized') > 0 then return 0 end
return redis.call('HDEL', ARGV[1], ARGV[2])
`;
