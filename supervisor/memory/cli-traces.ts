/**
 * Removes what a killed CLI leaves on the volume and in the temporary directory: its locks, for which
 * other processes would wait up to a minute, and its socket.
 * Invariant: a lock that a living process may hold stays.
 */
import { lstat, readdir, readFile, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { findLocks, removeLock, removeRefreshRecord } from '../claude/locks.ts';

export interface DeadCli {
  pid: number;
  /** On the volume, written by the CLI, and therefore untrusted. */
  configDirectory: string;
  temporaryDirectory: string;
}

/** Call it when the CLI and all its processes have ended; never rejects. @param root of procfs */
export async function removeTraces(dead: DeadCli, root = '/proc'): Promise<void> {
  const { pid, configDirectory, temporaryDirectory } = dead;
  // A lock that is taken after this belongs to a process that the next line may miss.
  const locks = await findLocks(configDirectory);
  const isAlone = !(await othersLive(dead, root));
  for (const lock of locks) if (isAlone || lock.holder === pid) removeLock(lock);
  await removeSocket(join(temporaryDirectory, 'cc-socks', `${pid}.sock`));
  await removeSocket(join('/tmp', `cc-socks-${process.getuid?.() ?? 0}`, `${pid}.sock`));
}

/**
 * Removes the locks that the CLIs of a dead container have left, in the middle of a refresh for example.
 * To be called with the lease held, so that no other program works on the volume, and while this program
 * runs no CLI; never rejects. All locks stay while another CLI lives here. `berth login` takes the lock of a
 * refresh too, without the lease, without a record and for less than a second: a fresh lock without a
 * record stays.
 * @param root of procfs
 */
export async function removeLeftLocks(configDirectory: string, root = '/proc'): Promise<void> {
  if (await othersLive({ pid: process.pid, configDirectory }, root)) return;
  const locks = await findLocks(configDirectory);
  for (const lock of locks) {
    if (!lock.isRefresh || lock.isAbandoned || lock.holder !== undefined) removeLock(lock);
  }
  if (!locks.some(({ isRefresh }) => isRefresh)) await removeRefreshRecord(configDirectory);
}

/** Whether any other CLI lives here: a worker, or a CLI that a person started in the container. */
async function othersLive(
  { pid, configDirectory }: Pick<DeadCli, 'pid' | 'configDirectory'>,
  root: string,
): Promise<boolean> {
  const names = (await readdir(root).catch(() => [])).filter((name) => /^\d+$/.test(name));
  const own = `CLAUDE_CONFIG_DIR=${configDirectory}`;
  // The container's init has the same environment.
  const above = await ancestors(root);
  for (const name of names) {
    if (Number(name) === pid || Number(name) === process.pid) continue;
    const read = (file: string) =>
      readFile(join(root, name, file), 'utf8')
        .then((text) => text.split('\0'))
        .catch((): string[] => []);
    if (!above.has(name) && (await read('environ')).includes(own)) return true;
    if (/^claude/.test(basename((await read('cmdline'))[0] ?? ''))) return true;
  }
  return false;
}

/** The ids of the ancestors of this process. */
async function ancestors(root: string): Promise<Set<string>> {
  const found = new Set<string>();
  for (let pid = String(process.pid); ; ) {
    const stat = await readFile(join(root, pid, 'stat'), 'utf8').catch(() => '');
    // The name may contain any character; the state and the parent follow it.
    const parent = stat.slice(stat.lastIndexOf(')') + 1).split(' ')[2];
    if (!parent || parent === '0' || found.has(parent)) return found;
    found.add(parent);
    pid = parent;
  }
}

async function removeSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket()) await unlink(path).catch(() => undefined);
}
