/**
 * Answers beforehand what the CLI asks a person at its first start: the onboarding, and whether the
 * workspace is trusted. Both answers lie in `.claude.json`, which else belongs to the CLI.
 * Always holds: nothing in it is lost but those two answers; the file is whole or as it was; no symlink
 * is followed; one that cannot be read is set aside, and the CLI's own newest backup takes its place.
 * The keys are those of the CLI 2.1.330: `hasCompletedOnboarding` and, by the absolute path of the
 * working directory or one above it, `projects[path].hasTrustDialogAccepted`.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../shared/errors.ts';
import { readFileBounded, unwritable, writeFileAtomic } from '../../shared/files.ts';
import type { Lease } from '../../shared/lease.ts';
import type { Log } from '../../shared/log.ts';
import type { Aside } from '../../shared/set-aside.ts';

const fileName = '.claude.json';
const backups = 'backups';
const backupName = /^\.claude\.json\.backup\.\d{1,15}$/;
const mostBackups = 20;
/** Bytes; it keeps the history of prompts and grows to a few megabytes. */
const limit = 32 * 1024 * 1024;

export interface OnboardingOptions {
  configDirectory: string;
  /** BERTH_WORKSPACE_DIR, as the CLI sees it. */
  workspaceDirectory: string;
  /** Given to what is written, where this process may. */
  owner: { uid: number; gid: number } | undefined;
  conflicts: Aside;
  lease: Pick<Lease, 'assertHeld'>;
  log: Log;
}

type Answers = Record<string, unknown>;

/**
 * @returns whether the file was changed
 * @throws BerthError `volume_unwritable`, `lease_held`
 */
export async function answerOnboarding(options: OnboardingOptions): Promise<boolean> {
  const { configDirectory, workspaceDirectory, conflicts, log } = options;
  const path = join(configDirectory, fileName);
  const present = await lstat(path).catch(() => undefined);
  if (present?.isFile() && present.size > limit) {
    log.warn('onboarding_answered', `${fileName} is too large to be read and stays as it is`, {
      size: present.size,
    });
    return false;
  }
  let answers = await read(path);
  if (answers && isAnswered(answers, workspaceDirectory)) return false;
  if (!answers) {
    if (present) {
      const saved = await conflicts.save(path, fileName);
      log.warn('onboarding_answered', `${fileName} could not be used and is set aside`, { saved });
    }
    answers = (await newestBackup(configDirectory)) ?? {};
  }
  await writeFileAtomic(
    path,
    `${JSON.stringify(answered(answers, workspaceDirectory), null, 2)}\n`,
    {
      mode: 0o600,
      ...(options.owner ? { owner: options.owner } : {}),
      beforeRename: () => options.lease.assertHeld(),
    },
  );
  log.debug('onboarding_answered', 'the CLI asks for no onboarding and trusts the workspace', {
    workspace: workspaceDirectory,
  });
  return true;
}

function isAnswered(answers: Answers, workspace: string): boolean {
  const project = objectOf(objectOf(answers.projects)?.[workspace]);
  return answers.hasCompletedOnboarding === true && project?.hasTrustDialogAccepted === true;
}

function answered(answers: Answers, workspace: string): Answers {
  const projects = objectOf(answers.projects) ?? {};
  const project = { ...objectOf(projects[workspace]), hasTrustDialogAccepted: true };
  return {
    ...answers,
    hasCompletedOnboarding: true,
    projects: { ...projects, [workspace]: project },
  };
}

/** The file's content; undefined if it is not there, cannot be read, or is not of the CLI's shape. */
async function read(path: string): Promise<Answers | undefined> {
  try {
    const content = await readFileBounded(path, limit);
    const answers = content && objectOf(JSON.parse(content.toString('utf8')));
    const projects = answers?.projects ?? {};
    return objectOf(projects) ? answers : undefined;
  } catch (error) {
    // Not the content's fault: what cannot be read now must not be taken for damaged.
    if (['EACCES', 'EIO', 'EMFILE'].includes(systemCode(error) ?? ''))
      throw unwritable(path, error);
    return undefined;
  }
}

/** What the newest whole one of the CLI's own backups holds. */
async function newestBackup(configDirectory: string): Promise<Answers | undefined> {
  const directory = join(configDirectory, backups);
  const isReal = (await lstat(directory).catch(() => undefined))?.isDirectory();
  const names = isReal ? (await readdir(directory)).filter((name) => backupName.test(name)) : [];
  for (const name of names.sort().reverse().slice(0, mostBackups)) {
    const answers = await read(join(directory, name)).catch(() => undefined);
    if (answers) return answers;
  }
  return undefined;
}

function objectOf(value: unknown): Record<string, unknown> | undefined {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : undefined;
}
