/** Checks the volume: whether it exists, its owner, its free space, and init's report about it. */
import { access, constants, lstat, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf, systemCode } from '../../shared/errors.ts';
import { readFileBounded } from '../../shared/files.ts';
import { reportFile } from '../../shared/state-directory.ts';
import { formatDuration, formatSize } from '../../shared/units.ts';
import { type Finding, failed, ok, warning } from './check.ts';

const own = (uid: number): string =>
  `run the pod with fsGroup ${uid} and runAsUser ${uid}, or let init change the owner (docs/install.md, "The volume": the component root-ownership)`;

export async function checkVolume(
  configDirectory: string,
  stateDirectory: string,
): Promise<Finding[]> {
  const uid = process.getuid?.() ?? 0;
  const found = await lstat(configDirectory).catch((error: unknown) => error as Error);
  if (found instanceof Error || !found.isDirectory()) {
    const why = found instanceof Error ? found.message : 'it is not a directory';
    return [failed(configDirectory, why, 'mount the volume there, or set BERTH_CONFIG_DIR')];
  }
  const findings = await Promise.all([
    checkWritable(configDirectory, uid),
    checkOwners(configDirectory, uid),
    checkRoom(configDirectory),
    checkState(stateDirectory, uid),
    checkReport(stateDirectory),
    checkConflicts(stateDirectory),
  ]);
  return findings.flat();
}

async function checkWritable(path: string, uid: number): Promise<Finding> {
  try {
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
    return ok(path, 'it can be written');
  } catch (error) {
    const why = systemCode(error) === 'EROFS' ? 'it is mounted read-only' : `uid ${uid} may not`;
    return failed(path, `it cannot be written: ${why}`, own(uid));
  }
}

/** Checks the top level only: the CLI and berth write there. */
async function checkOwners(path: string, uid: number): Promise<Finding> {
  const names = (await readdir(path)).slice(0, 1_000);
  const foreign: string[] = [];
  for (const name of names) {
    const { uid: owner } = await lstat(join(path, name)).catch(() => ({ uid }));
    if (owner !== uid && name !== 'lost+found') foreign.push(name);
  }
  if (foreign.length === 0 || uid === 0) return ok(path, `all of it belongs to uid ${uid}`);
  const some = foreign.slice(0, 3).join(', ');
  return warning(path, `${foreign.length} of its entries belong to others: ${some}`, own(uid));
}

async function checkRoom(path: string): Promise<Finding> {
  const { bavail, blocks, bsize } = await statfs(path);
  const free = bavail * bsize;
  const text = `${formatSize(free)} of ${formatSize(blocks * bsize)} are free`;
  return free < 64 * 1024 ** 2
    ? failed(
        path,
        text,
        'enlarge the volume, or lower BERTH_DISK_BUDGET or BERTH_SESSION_RETENTION',
      )
    : ok(path, text);
}

async function checkState(path: string, uid: number): Promise<Finding> {
  const found = await lstat(path).catch(() => undefined);
  if (!found) {
    const remedy = 'see the log of the init container; berth serve creates it too';
    return warning(
      path,
      'it does not exist yet: neither init nor berth serve has run here',
      remedy,
    );
  }
  if (!found.isDirectory()) {
    return failed(path, 'it is not a directory', 'restart the pod: init moves the file away');
  }
  if (uid !== 0 && found.uid !== uid) {
    return failed(path, `it belongs to uid ${found.uid}, and this is uid ${uid}`, own(uid));
  }
  return (found.mode & 0o077) === 0
    ? ok(path, 'only its owner may enter it')
    : warning(path, 'others may enter it', `chmod 700 ${path}`);
}

const report = z.object({
  version: z.literal(1),
  repository: z.string(),
  commit: z.string().regex(/^[0-9a-f]{40,64}$/),
  remote: z.enum(['current', 'failed']),
  problem: z.string().optional().catch(undefined),
  remote_error: z.object({ code: z.string() }).optional().catch(undefined),
  settings: z.enum(['kept', 'invalid']).optional().catch(undefined),
  confirmed_at: z.iso.datetime(),
});

async function checkReport(stateDirectory: string): Promise<Finding[]> {
  const path = join(stateDirectory, reportFile);
  let read: z.infer<typeof report>;
  try {
    const content = await readFileBounded(path, 256 * 1024);
    if (content === undefined) {
      const remedy = 'see the log of the init container; without init there is no configuration';
      return [warning(path, 'there is no report of init', remedy)];
    }
    read = report.parse(JSON.parse(content.toString('utf8')));
  } catch (error) {
    return [warning(path, messageOf(error), 'restart the pod, so that init writes it again')];
  }
  return [checkConfirmed(read), ...checkProblem(read)];
}

/** "<cause>; <remedy>". */
function checkProblem({ problem }: z.infer<typeof report>): Finding[] {
  if (problem === undefined) return [];
  const cut = problem.lastIndexOf('; ');
  const [detail, remedy] =
    cut < 0 ? [problem, 'see the log of init'] : [problem.slice(0, cut), problem.slice(cut + 2)];
  return [warning('configuration', detail, `${remedy}, and restart the pod`)];
}

function checkConfirmed(read: z.infer<typeof report>): Finding {
  const age = formatDuration(Math.max(0, Date.now() - Date.parse(read.confirmed_at)));
  const what = `${read.repository} at ${read.commit.slice(0, 7)}, confirmed ${age} ago`;
  if (read.remote === 'current') {
    if (read.settings !== 'kept') return ok('configuration', what);
    return warning(
      'configuration',
      `${what}, but with an earlier settings.json, because the CLI would ignore the file of this commit`,
      'see `settings_invalid` in the log of the init container, correct settings.json in the repository, and restart the pod, unless init stays',
    );
  }
  const refused = read.remote_error?.code === 'remote_refused';
  return warning(
    'configuration',
    `${refused ? 'the git server refused init, which' : 'init could not reach the git server and'} continued with ${what}`,
    `see the log of the init container for the cause${refused ? ' (the git token, its access or the repository)' : ''}, fix it, and restart the pod, unless init stays`,
  );
}

async function checkConflicts(stateDirectory: string): Promise<Finding> {
  const path = join(stateDirectory, 'conflicts');
  const names = await readdir(path).catch(() => []);
  if (names.length === 0) return ok(path, 'nothing was set aside');
  return warning(
    path,
    `${names.length} files were set aside, most recently ${names.sort().at(-1)}`,
    'check the files, add them to the repository or remove them: they never expire',
  );
}
