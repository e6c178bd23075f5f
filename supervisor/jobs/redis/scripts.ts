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
 * ARGV: the key of the job, the revision that it must have, the session of which it must be the first job or '', its id,
 * what the keys of jobs begin with, commands. Returns 1, 0 for another revision, or -1 if it is not the first.
 */
export const write = `${alsoWhenFull}${runCommands}
if (redis.call('HGET', ARGV[1], 'rev') or '') ~= ARGV[2] then return 0 end
if ARGV[3] ~= '' and firstOf(ARGV[3], ARGV[5]) ~= ARGV[4] then return -1 end
run(6)
return 1
`;

/**
 * Sets a record aside that cannot be read, or removes what a lost record has left. ARGV: the key of the job, the revision
 * that it must have or '', its id, its events, the key to which the record moves, the set of refused jobs, what their keys
 * begin with, the most of them, ended-bytes, reasons, what the keys of tokens, of unfinished jobs of a token, of sessions
 * and of jobs begin with, due, queued, turns, what the keys of all jobs of a session begin with, homes, what the keys of parked
 * jobs of a reason begin with, and the sets that may have the job. Returns 1, or 0 if there was nothing to do.
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

/** The first job of a session. ARGV: the session, what the keys of jobs begin with. */
export const first = `${common}
return firstOf(ARGV[1], ARGV[2])
`;

/**
 * ARGV: the key of the job, the key of the idempotency key or '', its digest, the id of the job, what the keys of jobs
 * begin with, the most waiting jobs, the set of the token's waiting jobs, the most of these, the number of sets with
 * waiting jobs, these sets, commands. Returns `added`, `full`, `token full`, or the id and the digest of the job that has
 * the key.
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
 * What a claim needs to know, in one step. ARGV: now, the most due jobs, the longest pause of a queued job, the keys due,
 * later, expiry, lanes, turns, and the prefix of BullMQ. Returns the ids of jobs that are due, the ids of expired jobs, and for
 * each queue with entries: its name, what it holds, its first entry, and the last turn of its token.
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
 * Reports that a replica or an owner is alive. ARGV: the key replicas or owners, the name, the milliseconds for which signs
 * are kept. Returns all names with their last sign of life.
 */
export const beat = `${alsoWhenFull}${common}
redis.call('ZADD', ARGV[1], clock(), ARGV[2])
redis.call('ZREMRANGEBYSCORE', ARGV[1], '-inf', clock() - ARGV[3])
return redis.call('ZRANGE', ARGV[1], 0, -1, 'WITHSCORES')
`;

/**
 * Appends events, and counts their bytes. ARGV: the key of the job, that of its events, the channel, the id, the most events,
 * ended-bytes, each event.
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

/** Forgets a queue without entries, with all keys of BullMQ. ARGV: the key lanes, the name of the queue, the prefix of BullMQ. */
export const forgetLane = `
local queue = ARGV[3] .. ':' .. ARGV[2]
if redis.call('EXISTS', queue .. ':wait', queue .. ':active', queue .. ':prioritized') > 0 then return 0 end
local forgotten = redis.call('HDEL', ARGV[1], ARGV[2])
local rest = { 'meta', 'id', 'events', 'marker', 'pc', 'stalled', 'stalled-check', 'limiter' }
for i = 1, #rest do redis.call('DEL', queue .. ':' .. rest[i]) end
return forgotten
`;

/**
 * Counts the start of a prompt, unless there were as many within the time. ARGV: the key of the starts, the limit, the time in
 * milliseconds, a name that is new. Returns 0 if the start counts; otherwise the milliseconds until the next may.
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
 * Keeps the attachments of a job for some time, unless those of all jobs would have too many bytes. ARGV: the key of the
 * job's files, the key of the bytes of all jobs, the id of the job, the bytes of its files, the most bytes, the time in
 * milliseconds, what the keys of files begin with, then the number and the content of each file. Returns -1, or the bytes of
 * other jobs if there is no room.
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
