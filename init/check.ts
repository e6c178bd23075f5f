/**
 * `berth-init --check`: prints the state of the volume and what a run would do.
 * Invariants: nothing is written, no lease is taken and no server is called, so it can run at any
 * time. While a pod uses the volume, the result is a snapshot.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '../shared/errors.ts';
import { readFileBounded } from '../shared/files.ts';
import { leaseFileName } from '../shared/lease.ts';
import { silent } from '../shared/log.ts';
import { printable } from '../shared/printable.ts';
import { redact } from '../shared/redact.ts';
import { formatDuration } from '../shared/units.ts';
import { credentialsRows, ownershipRows, type Row } from './check-access.ts';
import type { InitConfig } from './config.ts';
import { settingsPath } from './reconcile/keep-settings.ts';
import { plan, remember, type Step } from './reconcile/plan.ts';
import { selectFiles } from './reconcile/select.ts';
import { lastConfirmed } from './report.ts';
import { treeOf } from './source/upstream.ts';
import { findMisplaced } from './volume/misplaced.ts';
import { distinguishesAll } from './volume/names.ts';
import { assertVolume } from './volume/state-directory.ts';
import { reportUntracked } from './volume/untracked.ts';
import { inspectVolume, type Volume } from './volume/volume.ts';
import { type VolumeState, volumeStates } from './volume/volume-states.ts';

export interface Check {
  state: VolumeState;
  exitCode: number;
  /** For a terminal, with a line end. */
  text: string;
}

const mostNamed = 20;

/** @throws BerthError `volume_unwritable` if there is no volume */
export async function checkVolume(config: InitConfig): Promise<Check> {
  const { configDirectory, stateDirectory, repository, ref, directory } = config;
  assertVolume(configDirectory);
  const wanted = { configDirectory, stateDirectory, repository: repository.url, ref, directory };
  let volume: Volume;
  try {
    volume = await inspectVolume(wanted);
  } catch (error) {
    if (!(error instanceof BerthError) || error.code !== 'volume_damaged') throw error;
    return describe(config, 'newer_format', [['why', error.message]]);
  }
  const steps = await plannedSteps(config, volume);
  const state = volume.state === 'complete' && steps.some(isDamage) ? 'damaged_tree' : volume.state;
  return describe(config, state, [
    ...(await holding(stateDirectory, volume)),
    ...files(steps),
    ...unread(config, volume),
    ...(volume.gitDamage === undefined ? [] : [['git', volume.gitDamage] as Row]),
    ...volume.damaged.map((name): Row => ['record', `${name} cannot be read`]),
    ...(await untracked(configDirectory, volume)),
    ...(await credentialsRows(config)),
    ...(await ownershipRows(config)),
    ...(await keeping(stateDirectory)),
    ['held by', await holder(stateDirectory)],
  ]);
}

/** Returns the changes that reconciling would make for the commit that was fetched last. */
async function plannedSteps(config: InitConfig, { applied, pending }: Volume): Promise<Step[]> {
  const record = pending ?? applied;
  if (!record) return [];
  const memory = remember({ applied, pending });
  const known = new Map([...memory.applied, ...memory.pending]);
  const absent = [...known].filter(([, entry]) => entry.absent).map(([path]) => path);
  const { wanted } = await selectFiles({
    commit: { tree: treeOf(record) },
    directory: record.directory,
    applied: known,
    fold: distinguishesAll,
    symlinks: true,
    readBlob: async () => Buffer.from('/'),
    log: silent,
  });
  // Paths that the volume cannot hold are not missing.
  for (const path of absent) {
    for (const one of [wanted, memory.applied, memory.pending]) one.delete(path);
  }
  const kept = known.get(settingsPath);
  if (kept?.kept !== undefined && wanted.has(settingsPath)) wanted.set(settingsPath, kept);
  const { configDirectory, localChanges } = config;
  const { signal } = new AbortController();
  return plan({ configDirectory, localChanges, fold: distinguishesAll, signal }, memory, wanted);
}

function isDamage({ action }: Step): boolean {
  return 'reason' in action && ['restored', 'drift'].includes(action.reason);
}

async function holding(stateDirectory: string, { applied, pending }: Volume): Promise<Row[]> {
  const rows: Row[] = [];
  const name = ({ repository, ref, commit }: NonNullable<Volume['applied']>) =>
    `${repository}${ref === null ? '' : ` (${ref})`} at ${commit.slice(0, 7)}`;
  if (applied) {
    const confirmed = await lastConfirmed(stateDirectory, applied).catch(() => undefined);
    const since = confirmed ?? new Date(applied.fetched_at);
    const minutes = Math.max(1, Math.round((Date.now() - since.getTime()) / 60_000));
    const ago = formatDuration(minutes * 60_000);
    rows.push(['holds', name(applied), `confirmed by the git server ${ago} ago`]);
  }
  if (pending) rows.push(['pending', `change to ${name(pending)}`]);
  return rows;
}

function files(steps: readonly Step[]): Row[] {
  if (steps.length === 0) return [];
  const rows: Row[] = [['files', `${steps.filter(({ want }) => want).length} tracked`]];
  const kinds: [string, (step: Step) => boolean][] = [
    ['edited', ({ action }) => action.kind === 'keep' || action.kind === 'merge'],
    ['missing', (step) => isDamage(step) && step.local.kind === 'missing'],
    ['drifted', ({ action }) => 'reason' in action && action.reason === 'drift'],
    ['damaged', (step) => isDamage(step) && step.local.kind !== 'missing'],
    ['differing', ({ action }) => action.kind === 'write' || action.kind === 'remove'],
  ];
  const printed = new Set<Step>();
  for (const [name, is] of kinds) {
    const all = steps.filter((step) => !printed.has(step) && is(step));
    for (const step of all) printed.add(step);
    if (all.length > 0) rows.push([name, ...shortened(all.map(({ path }) => path))]);
  }
  return rows;
}

/** For the commit that was fetched last, with the current BERTH_REPO_PATH. */
function unread({ repository, directory }: InitConfig, volume: Volume): Row[] {
  const record = volume.pending ?? volume.applied;
  if (record?.repository !== repository.url) return [];
  const misplaced = findMisplaced(treeOf(record), directory ?? null);
  return misplaced ? [['unread', misplaced.message]] : [];
}

async function untracked(configDirectory: string, { applied, pending }: Volume): Promise<Row[]> {
  const memory = remember({ applied, pending });
  const tracked = new Map([...memory.applied, ...memory.pending]);
  const count = await reportUntracked(configDirectory, tracked, silent);
  return count === 0 ? [] : [['untracked', `${count} files of executable configuration`]];
}

async function keeping(stateDirectory: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (const name of ['conflicts', 'quarantine']) {
    const names = await readdir(join(stateDirectory, name)).catch(() => []);
    if (names.length > 0)
      rows.push([name, `of ${names.length} runs, in ${stateDirectory}/${name}`]);
  }
  return rows;
}

/** Any program can write the lease file, so only the name of the holder is shown. */
async function holder(stateDirectory: string): Promise<string> {
  const read = readFileBounded(join(stateDirectory, leaseFileName), 4096);
  const text = (await read.catch(() => undefined))?.toString();
  if (text === undefined) return 'no program';
  const name = /"holder":"([\w .-]{1,100})"/.exec(text)?.[1] ?? 'an unknown program';
  return `${name}, or left over from that run`;
}

function shortened(paths: string[]): string[] {
  const shown = paths.slice(0, mostNamed);
  const rest = paths.length - shown.length;
  return rest > 0 ? [...shown, `and ${rest} more`] : shown;
}

function describe({ configDirectory }: InitConfig, state: VolumeState, rows: Row[]): Check {
  const { means, repair, exit } = volumeStates[state];
  const all: Row[] = [
    ['volume', configDirectory],
    ['state', `${state}: ${means}`],
    ...rows,
    ['a run', repair],
  ];
  const lines = all.flatMap(([name, ...values]) =>
    values.map(
      (value, index) => `${(index === 0 ? name : '').padEnd(11)} ${printable(redact(value))}\n`,
    ),
  );
  return { state, exitCode: exit, text: lines.join('') };
}
