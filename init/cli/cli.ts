/**
 * Installs the CLI that the settings request on the volume: downloads, verifies and unpacks it, and
 * keeps its predecessor.
 * Invariants: the requested CLI is complete or absent. At every run its tarball is compared with
 * the setting and its binary with the tarball, because the CLI's tools can write both. An earlier
 * installation is removed only after another has replaced it.
 */
import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { asBerthError, type BerthError } from '../../shared/errors.ts';
import { makeDirectories, syncDirectory, unwritable, writeFileAtomic } from '../../shared/files.ts';
import {
  type Installed,
  idOf,
  installedDirectory,
  installedFile,
  installedPlace,
  isInstalled,
  readInstalled,
  readTested,
  testedFile,
} from '../../shared/installed-cli.ts';
import type { Lease } from '../../shared/lease.ts';
import type { Log } from '../../shared/log.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import { fetchCli, whatIsWrong } from './cli-files.ts';
import type { CliTarball } from './cli-settings.ts';

export interface CliOptions {
  stateDirectory: string;
  /** The CLI to install; undefined: no CLI. */
  wanted: CliTarball | undefined;
  lease: Pick<Lease, 'assertHeld'>;
  /** Aborts when the program stops. */
  signal: AbortSignal;
  /** Milliseconds for a download. */
  patience: number;
  log: Log;
}

/**
 * `present`: it was installed; `installed`: it is installed now; `previous`: it could not be
 * installed, and the earlier installation stays in use.
 */
export type CliOutcome = { from: 'present' | 'installed' | 'previous' };

/**
 * @returns undefined if no CLI is requested
 * @throws BerthError `cli_refused`, `volume_unwritable`; `cli_undelivered` if there is no other CLI
 */
export async function provideCli(options: CliOptions): Promise<CliOutcome | undefined> {
  const { stateDirectory, wanted, signal, log } = options;
  const directory = join(stateDirectory, installedDirectory);
  const before = await readInstalled(stateDirectory);
  if (!wanted) {
    await removeAll(options);
    return undefined;
  }
  const id = idOf(wanted.integrity);
  const others = await othersOf(stateDirectory, id, before);
  let outcome: CliOutcome = { from: 'present' };
  try {
    await makeDirectories(directory);
    if (!(await isGood(id, wanted, options))) outcome = await install(id, wanted, options);
  } catch (thrown) {
    signal.throwIfAborted();
    const error = problemOf(thrown, directory);
    const mayGoOn = error.code === 'cli_undelivered' || error.code === 'volume_unwritable';
    if (!mayGoOn || others.length === 0) throw error;
    const text = 'the configured Claude Code is not on the volume; the earlier version is used';
    log.error('cli_not_installed', `${text}: ${error.message}`, { error });
    await remember(others, before, options);
    return { from: 'previous' };
  }
  const record = await remember([id, ...others], before, options);
  await sweep(directory, record);
  return outcome;
}

function problemOf(thrown: unknown, directory: string): BerthError {
  const { syscall } = thrown as NodeJS.ErrnoException;
  return syscall === undefined ? asBerthError(thrown) : unwritable(directory, thrown);
}

/**
 * The installations besides `id`; first those that passed their test here, because there may not be
 * space for two.
 */
async function othersOf(
  stateDirectory: string,
  id: string,
  before: Installed | undefined,
): Promise<string[]> {
  const there: string[] = [];
  for (const other of [before?.current, before?.previous]) {
    if (other === undefined || other === id) continue;
    if (await isInstalled(stateDirectory, other)) there.push(other);
  }
  const tested = await readTested(stateDirectory);
  return there.sort((a, b) => Number(tested.includes(b)) - Number(tested.includes(a)));
}

async function remember(
  [current = '', previous]: string[],
  before: Installed | undefined,
  { stateDirectory, lease }: CliOptions,
): Promise<Installed> {
  const record: Installed = { current, ...(previous === undefined ? {} : { previous }) };
  if (before?.current === current && before.previous === previous) return record;
  const path = join(stateDirectory, installedFile);
  const text = `${JSON.stringify({ version: 1, ...record })}\n`;
  await writeFileAtomic(path, text, { mode: 0o600, beforeRename: () => lease.assertHeld() });
  return record;
}

async function isGood(
  id: string,
  { integrity }: CliTarball,
  { stateDirectory, signal, log }: CliOptions,
): Promise<boolean> {
  const { directory } = installedPlace(stateDirectory, id);
  const found = await lstat(directory).catch(() => undefined);
  if (!found) return false;
  const wrong = found.isDirectory()
    ? await whatIsWrong(installedPlace(stateDirectory, id), integrity, signal)
    : 'a file in its place';
  if (wrong === undefined) return true;
  log.warn(
    'cli_damaged',
    `Claude Code on the volume differs from the installed version and is installed again: ${wrong}`,
  );
  return false;
}

async function install(
  id: string,
  wanted: CliTarball,
  { stateDirectory, lease, signal, patience, log }: CliOptions,
): Promise<CliOutcome> {
  const started = performance.now();
  const place = installedPlace(stateDirectory, id);
  const parent = dirname(place.directory);
  const made = installedPlace(stateDirectory, `.new-${id}`);
  await sweepOne(made.directory);
  try {
    await mkdir(made.directory, { mode: 0o755 });
    const bytes = await fetchCli({ wanted, made, kept: place.tarball, signal, patience });
    await syncDirectory(made.directory);
    await lease.assertHeld();
    await makeWay(place.directory, join(parent, `.old-${id}`));
    await rename(made.directory, place.directory);
    await syncDirectory(parent);
    log.info('cli_installed', 'installed Claude Code on the volume', {
      url: wanted.url,
      bytes,
      duration_ms: Math.round(performance.now() - started),
    });
    return { from: 'installed' };
  } catch (error) {
    await sweepOne(made.directory).catch(() => undefined);
    throw error;
  }
}

/** Removes a directory at the new path; renamed first, so that the time without either is short. */
async function makeWay(directory: string, away: string): Promise<void> {
  await sweepOne(away);
  const found = await lstat(directory).catch(() => undefined);
  if (found) await rename(directory, away);
}

async function removeAll({ stateDirectory, lease, log }: CliOptions): Promise<void> {
  await lease.assertHeld();
  for (const name of [installedFile, testedFile, installedDirectory]) {
    await sweepOne(join(stateDirectory, name));
  }
  log.info('cli_removed', 'removed Claude Code from the volume: BERTH_CLAUDE_TARBALL is not set');
}

/** Removes leftovers of a killed run, and installations older than the previous one. */
async function sweep(directory: string, record: Installed): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name === record.current || name === record.previous) continue;
    await sweepOne(join(directory, name));
  }
}

async function sweepOne(path: string): Promise<void> {
  await removeTree(path).catch((error: unknown) => {
    throw unwritable(path, error);
  });
}
