/**
 * Checks that a Redis server keeps what it has acknowledged, and has memory left. INFO has everything that is needed, since
 * managed servers forbid CONFIG.
 * Invariant: the result names the setting of the server that is wrong and the value that it must have.
 */

/** The part of the memory that new jobs may fill. The rest is for the work on jobs that were accepted. */
const mostMemory = 0.9;

/** What is wrong with the server, as sentences; none if it keeps jobs. @param info the answer to INFO */
export function problemsOf(info: string): string[] {
  const fields = fieldsOf(info);
  const problems: string[] = [];
  const policy = fields.get('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    problems.push(
      `maxmemory-policy is ${policy}, so the server removes jobs when its memory is full: set it to noeviction`,
    );
  }
  if (fields.get('aof_enabled') !== '1') {
    problems.push(
      'appendonly is not yes, so a restart of the server loses jobs: set it to yes, with appendfsync always or everysec',
    );
  }
  if (fields.get('aof_last_write_status') === 'err') {
    problems.push('the server cannot write its append-only file: check its disk');
  }
  if (isReplica(info)) {
    problems.push('the server is a read-only replica: name the primary server');
  }
  if (isTooOld(fields)) {
    problems.push(
      `the server is ${fields.get('redis_version')}: jobs need Redis 7 or Valkey 8, or a newer one`,
    );
  }
  return problems;
}

/** Whether the server takes no writes, because another one is the primary. @param info the answer to INFO */
export function isReplica(info: string): boolean {
  return fieldsOf(info).get('role') === 'slave';
}

/** Why the server has no memory for new jobs; null if it has some. @param info the answer to INFO */
export function memoryProblem(info: string): string | null {
  const fields = fieldsOf(info);
  const most = Number(fields.get('maxmemory') ?? 0);
  const used = Number(fields.get('used_memory') ?? 0);
  if (!(most > 0) || used < most * mostMemory) return null;
  return `its memory is nearly full (${used} of ${most} bytes): raise maxmemory, or lower BERTH_JOB_RETENTION_SIZE, BERTH_REDIS_ATTACHMENT_SIZE or BERTH_REDIS_MIRROR_SIZE`;
}

function fieldsOf(info: string): ReadonlyMap<string, string> {
  return new Map(
    info.split(/\r?\n/).map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1)] as const;
    }),
  );
}

/** Valkey reports 7.2 as its `redis_version`. */
function isTooOld(fields: ReadonlyMap<string, string>): boolean {
  const major = Number.parseInt(fields.get('redis_version') ?? '', 10);
  return major < 7;
}
