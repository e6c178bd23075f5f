/**
 * Keeps the last good settings.json if the CLI would ignore upstream's file, or a deny rule or a
 * hook in it: otherwise nothing would be forbidden any more.
 * Invariants: upstream's content is checked at each run, so a good file is always used. The kept
 * file is a file that the records list as written by berth, with its blob id, never an edit.
 * Nothing is changed here.
 */
import { join } from 'node:path';
import { describeSettingsProblem, disarming, settingsProblems } from '../../shared/cli-settings.ts';
import { BerthError } from '../../shared/errors.ts';
import { inside, readFileBounded } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { copiesDirectory } from '../../shared/state-directory.ts';
import { objectId } from '../git/pack-format.ts';
import type { Tree } from '../git/tree.ts';
import type { TreeRecord } from '../volume/record.ts';
import type { Memory } from './plan.ts';

/** The path on the volume. */
export const settingsPath = 'settings.json';

export interface KeepOptions {
  configDirectory: string;
  stateDirectory: string;
  /** BERTH_REPO without a login. */
  repository: string;
  /** BERTH_INVALID_SETTINGS */
  invalidSettings: 'keep' | 'fail';
  applied: TreeRecord | undefined;
  pending: TreeRecord | undefined;
  readBlob: (oid: string) => Promise<Buffer>;
  log: Log;
}

export type SettingsOutcome = 'kept' | 'invalid';

interface Blob {
  oid: string;
  content: Buffer;
}

const largest = 4 * 1024 * 1024;
const mostListed = 20;

/**
 * Replaces an invalid settings.json in `wanted` by the last good file.
 * @returns undefined without a problem; `good` is the kept file
 * @throws BerthError `configuration_invalid` if the setting requires it, or an error of `readBlob`
 */
export async function keepGoodSettings(
  options: KeepOptions,
  memory: Memory,
  wanted: Tree,
): Promise<{ outcome: SettingsOutcome; good?: Blob } | undefined> {
  const { configDirectory, readBlob, log } = options;
  const want = wanted.get(settingsPath);
  if (!want?.mode.startsWith('100')) return undefined;
  const local = await readIfAny(inside(configDirectory, settingsPath));
  const content = local?.oid === want.oid ? local.content : await readBlob(want.oid);
  const problems = disarming(settingsProblems(content)).map(describeSettingsProblem);
  if (problems.length === 0) return undefined;
  const why = `${settingsPath} of the repository: ${problems[0]}`;
  if (options.invalidSettings === 'fail') {
    throw new BerthError(
      'configuration_invalid',
      `cannot use ${why}, so the CLI would ignore it; correct it, or set BERTH_INVALID_SETTINGS=keep`,
    );
  }
  const good = await lastGood(options, memory, local);
  if (good) wanted.set(settingsPath, { mode: want.mode, oid: good.oid });
  const then = good
    ? 'the last good file stays on the volume'
    : 'there is no good file to keep, so the supervisor refuses prompts';
  log.error(
    'settings_invalid',
    `the CLI would ignore ${why}; ${then}; correct it, and restart the pod, unless init stays`,
    {
      path: settingsPath,
      kept: good !== undefined,
      problems: problems.slice(0, mostListed),
    },
  );
  return good ? { outcome: 'kept', good } : { outcome: 'invalid' };
}

/** The local file if it is berth's own, otherwise a copy of the file before. */
async function lastGood(
  { stateDirectory, repository, applied, pending }: KeepOptions,
  memory: Memory,
  local: Blob | undefined,
): Promise<Blob | undefined> {
  // Deny rules of another repository name other files and hooks.
  if ([applied, pending].some((record) => record && record.repository !== repository)) {
    return undefined;
  }
  const found = memory.found.get(settingsPath);
  const entries = [memory.applied.get(settingsPath), memory.pending.get(settingsPath)];
  if (found?.base === found?.oid) entries.push(found);
  const own = entries.flatMap((one) => (one?.mode.startsWith('100') ? [one.oid] : []));
  if (local && own.includes(local.oid) && isGood(local)) return local;
  for (const oid of own) {
    const copy = await readIfAny(join(stateDirectory, copiesDirectory, oid));
    if (copy?.oid === oid && isGood(copy)) return copy;
  }
  return undefined;
}

function isGood({ content }: Blob): boolean {
  return disarming(settingsProblems(content)).length === 0;
}

/** No symlink is followed; an unreadable file counts as absent. */
async function readIfAny(path: string): Promise<Blob | undefined> {
  const content = await readFileBounded(path, largest).catch(() => undefined);
  return content && { oid: objectId('blob', content), content };
}
