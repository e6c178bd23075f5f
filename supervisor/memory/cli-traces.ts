/**
 * What a killed CLI leaves on the volume and in the temporary directory: its locks, for which others
 * would wait up to a minute, and its socket.
 * A lock is an empty directory that its holder touches every 5 s. Beside that of a token refresh lies
 * who holds it; of the others nobody can tell, and they are void after 15 s.
 * Always holds: a lock that somebody alive may hold stays.
 */
import { lstatSync, rmdirSync, rmSync, type Stats } from 'node:fs';
import { lstat, readdir, readFile, realpath, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { readFileBounded } from '../../shared/files.ts';

export interface DeadCli {
  pid: number;
  /** On the volume, and written by the CLI: nothing in it is believed. */
  configDirectory: string;
  temporaryDirectory: string;
}

const refreshLock = '.oauth_refresh.lock';
const ownerFile = `${refreshLock}.owner`;
const mostOwnerBytes = 4_096;
const ownerSchema = z.object({
  pid: z.int(),
  lockBirthtimeMs: z.number(),
  legacyLockBirthtimeMs: z.number().optional(),
});
type Owner = z.infer<typeof ownerSchema>;
/** Milliseconds: a lock that has not been touched for so long has nobody who works under it. */
const abandonedAfter = 12_000;
const pollEvery = 20;

/**
 * Resolves when that CLI refreshes no token, or after `atMost` milliseconds: the old refresh token is
 * void once it was sent, and an end before the new one is stored would lose the login.
 */
export async function refreshOver(
  { pid, configDirectory }: Pick<DeadCli, 'pid' | 'configDirectory'>,
  atMost: number,
): Promise<void> {
  const began = performance.now();
  while (performance.now() - began < atMost) {
    const held = await lstat(join(configDirectory, refreshLock)).catch(() => undefined);
    if (!held?.isDirectory() || isAbandoned(held)) return;
    const owner = await ownerOf(configDirectory);
    if (owner?.lockBirthtimeMs === held.birthtimeMs && owner.pid !== pid) return;
    await delay(pollEvery);
  }
}

/** Call it when that CLI and all that it started are gone; never rejects. @param root of procfs */
export async function removeTraces(dead: DeadCli, root = '/proc'): Promise<void> {
  const { pid, configDirectory } = dead;
  const directory = await realpath(configDirectory).catch(() => configDirectory);
  const refresh = join(directory, refreshLock);
  const paths = [refresh, `${directory}.lock`, join(directory, '.storage-write.lock')];
  // One that is taken while we look round is somebody's who was not there yet.
  const seen = paths.map((path) => ({ path, lock: lookAt(path) }));
  const owner = await ownerOf(directory);
  const births = [owner?.lockBirthtimeMs, owner?.legacyLockBirthtimeMs];
  const nobody = !(await othersLive(dead, root));
  for (const [index, { path, lock }] of seen.entries()) {
    const mine = owner?.pid === pid && lock !== undefined && births[index] === lock.birthtimeMs;
    // Without an owner's name it is left to those who may hold it.
    if (!lock || !(mine || nobody)) continue;
    removeLock(path, lock, path === refresh ? join(directory, ownerFile) : undefined);
  }
  await removeSocket(join(dead.temporaryDirectory, 'cc-socks', `${pid}.sock`));
  await removeSocket(join('/tmp', `cc-socks-${process.getuid?.() ?? 0}`, `${pid}.sock`));
}

/**
 * The same for the CLIs of a container that has died, in the middle of a refresh for example. Call it
 * with the lease held, which says that nobody else works on the volume, and while this program runs no
 * CLI; never rejects. Nothing goes while another CLI lives here. `berth login` takes the lock of a refresh
 * too, without the lease, without a record and for less than a second: so a fresh one without a
 * record of its own stays. @param root of procfs
 */
export async function removeLeftLocks(configDirectory: string, root = '/proc'): Promise<void> {
  if (await othersLive({ pid: process.pid, configDirectory }, root)) return;
  const directory = await realpath(configDirectory).catch(() => configDirectory);
  const refresh = join(directory, refreshLock);
  const record = join(directory, ownerFile);
  const lock = lookAt(refresh);
  const owner = await ownerOf(directory);
  if (lock && (isAbandoned(lock) || owner?.lockBirthtimeMs === lock.birthtimeMs)) {
    removeLock(refresh, lock, record);
  } else if (!lock && owner) await unlink(record).catch(() => undefined);
  for (const path of [`${directory}.lock`, join(directory, '.storage-write.lock')]) {
    const left = lookAt(path);
    if (left) removeLock(path, left, undefined);
  }
}

/** Who refreshes, by the record beside the lock; undefined if that is not told. */
async function ownerOf(directory: string): Promise<Owner | undefined> {
  try {
    const text = await readFileBounded(join(directory, ownerFile), mostOwnerBytes);
    return text && ownerSchema.parse(JSON.parse(text.toString()));
  } catch {
    return undefined;
  }
}

/** Whether any other CLI is there: one of ours, or one that a person has started in the container. */
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

/** The processes that have started this one, by their ids. */
async function ancestors(root: string): Promise<Set<string>> {
  const found = new Set<string>();
  for (let pid = String(process.pid); ; ) {
    const stat = await readFile(join(root, pid, 'stat'), 'utf8').catch(() => '');
    // After the name, which may hold anything, come the state and the parent.
    const parent = stat.slice(stat.lastIndexOf(')') + 1).split(' ')[2];
    if (!parent || parent === '0' || found.has(parent)) return found;
    found.add(parent);
    pid = parent;
  }
}

function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

/**
 * One with anything in it is no lock, and one of the same path that was made later is another one.
 * Nothing is awaited between the look and the end.
 */
function removeLock(path: string, seen: Stats, record: string | undefined): void {
  try {
    const { ino, birthtimeMs } = lstatSync(path);
    if (ino !== seen.ino || birthtimeMs !== seen.birthtimeMs) return;
    rmdirSync(path);
    if (record !== undefined) rmSync(record, { force: true });
  } catch {
    // Somebody has removed it, or it is no lock.
  }
}

async function removeSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket()) await unlink(path).catch(() => undefined);
}

/** Who holds a lock touches it: it is neither old nor, where the clock was set back, of a time to come. */
function isAbandoned({ mtimeMs }: { mtimeMs: number }): boolean {
  return Math.abs(Date.now() - mtimeMs) >= abandonedAfter;
}
