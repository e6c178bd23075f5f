/**
 * The Lua scripts. Redis runs each of them in one step: after a crash of the server all of a script is there or nothing.
 * Invariants: a job is written only by `write`, which compares its revision, or by `add`, which requires that it is new. A job that
 * cannot be read is set aside by `refuse`. A server whose memory is full refuses what is new. It must not refuse what ends or
 * removes a job, since only this frees memory, nor a sign of life: the scripts for these have the flag `allow-oom`.
 */

/** Begins a script that a server with a full memory runs too. Redis requires it in the first line of the script. */
const alsoWhenFull = '#!lua flags=allow-oom';

/**
 * The clock of Redis in milliseconds since 1970; the first job of a session (the ids of lost records are removed); and the
 * bytes of an ended job with its events, of which the record keeps what the sum of all ended jobs has.
 */
const common = `
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function firstOf(session, jobs)
  while true do
    local first = redis.call('ZRANGE', session, 0, 0)[1]
    if not first or redis.call('EXISTS', jobs .. first) == 1 then return first end
    redis.call('ZREM', session, first)
  end
end
local function recount(own, ended, before)
  local known = redis.call('HMGET', own, 'bytes', 'event-bytes', 'counted')
  local bytes = tonumber(known[1]) or 0
  if bytes > 0 then bytes = bytes + (tonumber(known[2]) or 0) end
  redis.call('INCRBY', ended, bytes - (tonumber(known[3]) or before))
  redis.call('HSET', own, 'counted', bytes)
end
local function leave(all, id, homes, session)
  redis.call('SREM', all, id)
  if redis.call('EXISTS', all) == 0 then redis.call('HDEL', homes, session) end
end
local function wake(session, due, jobs, queued)
  local first = firstOf(session, jobs)
  if first and redis.call('ZSCORE', queued, first) then
    local at = redis.call('HGET', jobs .. first, 'due')
    if at then redis.call('ZADD', due, 'NX', at, first) end
  end
end
`;

/**
 * Runs the commands in ARGV from `i` on: for each its number of words, then the words. Besides Redis's own commands:
 * `WAKE session due jobs queued` makes the first job of a session due if it is queued. `BLOCK session due id jobs` removes
 * a job from the due ones unless it is the first of its session. `TURN turns turn token` gives the token the last turn.
 * `ALIVE owners owner` reports that an owner is alive. `COUNT job ended-bytes before` corrects the bytes of all ended jobs
 * after a change of a job, of which these had `before` if its record does not say so. `UNCOUNT job ended-bytes` precedes the
 * removal of a job. `LEAVE of-session id homes session` takes a job from the jobs of a session, whose home goes with the last.
 */
const runCommands = `${common}
local function run(i)
  while ARGV[i] do
    local count = tonumber(ARGV[i])
    local words = {}
    for j = 1, count do words[j] = ARGV[i + j] end
    i = i + count + 1
    if words[1] == 'WAKE' then
      wake(words[2], words[3], words[4], words[5])
    elseif words[1] == 'BLOCK' then
      if firstOf(words[2], words[5]) ~= words[4] then
        redis.call('ZREM', words[3], words[4])
      end
    elseif words[1] == 'TURN' then
      redis.call('ZADD', words[2], redis.call('INCR', words[3]), words[4])
    elseif words[1] == 'COUNT' then
      recount(words[2], words[3], tonumber(words[4]))
    elseif words[1] == 'UNCOUNT' then
      local known = redis.call('HMGET', words[2], 'bytes', 'counted')
      redis.call('DECRBY', words[3], tonumber(known[2] or known[1]) or 0)
    elseif words[1] == 'LEAVE' then
      leave(words[2], words[3], words[4], words[5])
    elseif words[1] == 'ALIVE' then
      redis.call('ZADD', words[2], clock(), words[3])
    else
      redis.call(unpack(words))
    end
  end
end
`;

/**
 * Changes a job. ARGV:
 *  1. the key of the job
 *  2. the revision that the job must have
 *  3. the key of the session of which the job must be the first, or ''
 *  4. the id of the job
 *  5. the prefix of the keys of jobs
 *  6. and further: commands for `run`
 * Returns 1; 0 if the job has another revision; -1 if the job is not the first of the session.
 */
export const write = `${alsoWhenFull}${runCommands}
if (redis.call('HGET', ARGV[1], 'rev') or '') ~= ARGV[2] then return 0 end
if ARGV[3] ~= '' and firstOf(ARGV[3], ARGV[5]) ~= ARGV[4] then return -1 end
run(6)
return 1
`;

/**
 * Sets a record aside that cannot be read, or removes what a lost record has left. ARGV:
 *  1. the key of the job
 *  2. the revision that the job must have, or ''
 *  3. the id of the job
 *  4. the key of the events of the job
 *  5. the key to which the record moves
 *  6. the key `refused`
 *  7. the prefix of the keys of refused jobs
 *  8. the maximum number of refused jobs
 *  9. the key `endedBytes`
 * 10. the key `reasons`
 * 11. the prefix of the keys of the jobs of a token
 * 12. the prefix of the keys of the unfinished jobs of a token
 * 13. the prefix of the keys of sessions
 * 14. the prefix of the keys of jobs
 * 15. the key `due`
 * 16. the key `queued`
 * 17. the key `turns`
 * 18. the prefix of the keys of all jobs of a session
 * 19. the key `homes`
 * 20. the prefix of the keys of the parked jobs of a reason
 * 21. and further: the keys of the sets that may have the job
 * Returns 1, or 0 if there was nothing to do.
 */
export const refuse = `${alsoWhenFull}${common}
local own, id = ARGV[1], ARGV[3]
local kind = redis.call('TYPE', own).ok
local known = kind == 'hash'
  and redis.call('HMGET', own, 'rev', 'key', 'bytes', 'reason', 'token', 'session', 'counted') or {}
if (known[1] or '') ~= ARGV[2] then return 0 end
local found = 0
if kind ~= 'none' then
  found = 1
  redis.call('RENAME', own, ARGV[5])
  redis.call('ZADD', ARGV[6], clock(), id)
  local old = redis.call('ZRANGE', ARGV[6], 0, -(ARGV[8] + 1))
  for i = 1, #old do
    redis.call('DEL', ARGV[7] .. old[i])
    redis.call('ZREM', ARGV[6], old[i])
  end
end
redis.call('DEL', ARGV[4])
if known[2] then redis.call('DEL', known[2]) end
redis.call('DECRBY', ARGV[9], tonumber(known[7] or known[3]) or 0)
if known[4] and known[4] ~= '' then
  redis.call('HINCRBY', ARGV[10], known[4], -1)
  redis.call('ZREM', ARGV[20] .. known[4], id)
end
local tokens = known[5] and { known[5] } or redis.call('ZRANGE', ARGV[17], 0, -1)
for i = 1, #tokens do
  redis.call('ZREM', ARGV[11] .. tokens[i], id)
  redis.call('ZREM', ARGV[12] .. tokens[i], id)
end
for i = 21, #ARGV do found = found + redis.call('ZREM', ARGV[i], id) end
if known[6] and known[6] ~= '' then
  redis.call('ZREM', ARGV[13] .. known[6], id)
  leave(ARGV[18] .. known[6], id, ARGV[19], known[6])
  wake(ARGV[13] .. known[6], ARGV[15], ARGV[14], ARGV[16])
end
return found > 0 and 1 or 0
`;

/**
 * Returns the id of the first job of a session. ARGV:
 *  1. the key of the session
 *  2. the prefix of the keys of jobs
 */
export const first = `${common}
return firstOf(ARGV[1], ARGV[2])
`;

/**
 * Adds a job. ARGV:
 *  1. the key of the job
 *  2. the key of the idempotency key, or ''
 *  3. the digest of the request with this idempotency key
 *  4. the id of the job
 *  5. the prefix of the keys of jobs
 *  6. the maximum number of waiting jobs
 *  7. the key of the waiting jobs of the token
 *  8. the maximum number of waiting jobs of the token
 *  9. the number n of sets with waiting jobs
 * 10. to 9 + n: the keys of these sets
 * 10 + n. and further: commands for `run`
 * Returns `added`; `full`; `token full`; or the id and the digest of the job that has the idempotency key.
 */
export const add = `${runCommands}
local sets = tonumber(ARGV[9])
if ARGV[2] ~= '' then
  local known = redis.call('HMGET', ARGV[2], 'id', 'digest')
  if known[1] and redis.call('EXISTS', ARGV[5] .. known[1]) == 1 then return known end
end
if redis.call('EXISTS', ARGV[1]) == 1 then return { ARGV[4], ARGV[3] } end
local waiting = 0
for i = 1, sets do waiting = waiting + redis.call('ZCARD', ARGV[9 + i]) end
if waiting >= tonumber(ARGV[6]) then return 'full' end
if redis.call('ZCARD', ARGV[7]) >= tonumber(ARGV[8]) then return 'token full' end
if ARGV[2] ~= '' then redis.call('HSET', ARGV[2], 'digest', ARGV[3], 'id', ARGV[4]) end
run(10 + sets)
return 'added'
`;

/**
 * Reads what a claim needs to know, in one step. ARGV:
 *  1. now, in milliseconds since 1970
 *  2. the maximum number of ids in each list
 *  3. the longest pause of a queued job, in milliseconds
 *  4. the key `due`
 *  5. the key `later`
 *  6. the key `expiry`
 *  7. the key `lanes`
 *  8. the key `turns`
 *  9. the prefix of the keys of BullMQ
 * Returns the ids of jobs that are due, the ids of expired jobs, and for each queue with entries: its name, what it holds,
 * its first entry, and the last turn of its token.
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
  local queue = ARGV[9] .. ':' .. known[i]
  local first = redis.call('LINDEX', queue .. ':wait', -1)
    or redis.call('ZRANGE', queue .. ':prioritized', 0, 0)[1]
  if first then
    local read, lane = pcall(cjson.decode, known[i + 1])
    if read and type(lane) == 'table' and type(lane.token) == 'string' then
      local turn = redis.call('ZSCORE', ARGV[8], lane.token) or '0'
      lanes[#lanes + 1] = { known[i], known[i + 1], first, turn }
    else
      -- The sweep queues the jobs of this queue again.
      redis.call('HDEL', ARGV[7], known[i])
    end
  end
end
return { due, expired, lanes }
`;

/**
 * Reports that a replica or an owner is alive. ARGV:
 *  1. the key `replicas` or `owners`
 *  2. the name of the replica or of the owner
 *  3. the milliseconds for which signs of life are kept
 * Returns all names with their last sign of life.
 */
export const beat = `${alsoWhenFull}${common}
redis.call('ZADD', ARGV[1], clock(), ARGV[2])
redis.call('ZREMRANGEBYSCORE', ARGV[1], '-inf', clock() - ARGV[3])
return redis.call('ZRANGE', ARGV[1], 0, -1, 'WITHSCORES')
`;

/**
 * Appends events, and counts their bytes. ARGV:
 *  1. the key of the job
 *  2. the key of the events of the job
 *  3. the channel `changes`
 *  4. the id of the job
 *  5. the maximum number of events
 *  6. the key `endedBytes`
 *  7. and further: the events
 * Returns 1, or 0 without such a job.
 */
export const appendEvents = `${common}
local own, stream = ARGV[1], ARGV[2]
if redis.call('EXISTS', own) == 0 then return 0 end
local bytes = tonumber(redis.call('HGET', own, 'event-bytes')) or 0
for i = 7, #ARGV do
  redis.call('XADD', stream, redis.call('HINCRBY', own, 'events', 1) .. '-0', 'event', ARGV[i])
  bytes = bytes + #ARGV[i]
end
local over = redis.call('XLEN', stream) - ARGV[5]
if over > 0 then
  local old = redis.call('XRANGE', stream, '-', '+', 'COUNT', over)
  for i = 1, #old do bytes = bytes - #(old[i][2][2] or '') end
  redis.call('XTRIM', stream, 'MAXLEN', ARGV[5])
end
redis.call('HSET', own, 'event-bytes', math.max(0, bytes))
local ended = tonumber(redis.call('HGET', own, 'bytes')) or 0
if ended > 0 then recount(own, ARGV[6], ended) end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
`;

/**
 * Forgets a queue without entries, with all keys of BullMQ. ARGV:
 *  1. the key `lanes`
 *  2. the name of the queue
 *  3. the prefix of the keys of BullMQ
 * Returns 1, or 0 if the queue has entries or was forgotten already.
 */
export const forgetLane = `
local queue = ARGV[3] .. ':' .. ARGV[2]
if redis.call('EXISTS', queue .. ':wait', queue .. ':active', queue .. ':prioritized') > 0 then return 0 end
local forgotten = redis.call('HDEL', ARGV[1], ARGV[2])
local rest = { 'meta', 'id', 'events', 'marker', 'pc', 'stalled', 'stalled-check', 'limiter' }
for i = 1, #rest do redis.call('DEL', queue .. ':' .. rest[i]) end
return forgotten
`;

/**
 * Counts the start of a prompt, unless there were as many within the time. ARGV:
 *  1. the key of the starts
 *  2. the maximum number of starts within the time
 *  3. the time, in milliseconds
 *  4. a new name for this start
 * Returns 0 if the start counts; otherwise the milliseconds until the next start may count.
 */
export const countStart = `${common}
local now, limit, time = clock(), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', ARGV[1], '-inf', now - time)
if redis.call('ZCARD', ARGV[1]) >= limit then
  local blocking = redis.call('ZRANGE', ARGV[1], -limit, -limit, 'WITHSCORES')
  return math.max(1, math.min(time, blocking[2] + time - now))
end
redis.call('ZADD', ARGV[1], now, ARGV[4])
redis.call('PEXPIRE', ARGV[1], time)
return 0
`;

/**
 * Keeps the attachments of a job for some time, unless those of all jobs would have too many bytes. ARGV:
 *  1. the key of the files of the job
 *  2. the key `files`, which has the bytes of each job
 *  3. the id of the job
 *  4. the bytes of the files of the job
 *  5. the maximum bytes of all jobs
 *  6. the time, in milliseconds
 *  7. the prefix of the keys of files
 *  8. and further: the number and the content of each file
 * Returns -1, or the bytes of other jobs if there is no room.
 */
export const keepFiles = `
local own, most, used = tonumber(ARGV[4]), tonumber(ARGV[5]), 0
local known = redis.call('HGETALL', ARGV[2])
for i = 1, #known, 2 do used = used + (tonumber(known[i + 1]) or 0) end
if used + own > most then
  -- The files of a job that was never accepted have expired.
  for i = 1, #known, 2 do
    if redis.call('EXISTS', ARGV[7] .. known[i]) == 0 then
      redis.call('HDEL', ARGV[2], known[i])
      used = used - (tonumber(known[i + 1]) or 0)
    end
  end
end
if used + own > most then return used end
redis.call('DEL', ARGV[1])
for i = 8, #ARGV, 2 do redis.call('HSET', ARGV[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', ARGV[1], ARGV[6])
redis.call('HSET', ARGV[2], ARGV[3], own)
return -1
`;
