/**
 * Answers the CLI's first-start questions in advance: the onboarding, and the trust in the
 * workspace. Both answers are in `.claude.json`, which otherwise belongs to the CLI.
 * Invariants: only these two answers are changed. The file is complete or unchanged. No symlink is
 * followed. An unreadable file is set aside and replaced by the CLI's newest backup. The keys are
 * those of the CLI 2.1.330: `hasCompletedOnboarding` and, by the absolute path of the working
 * directory or a parent, `projects[path].hasTrustDialogAccepted`.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isPassing, systemCode } from '../../shared/errors.ts';
import { readFileBounded, unreadable, unwritable, writeFileAtomic } from '../../shared/files.ts';
import type { Lease } from '../../shared/lease.ts';
import type { Log } from '../../shared/log.ts';
import type { Aside } from '../../shared/set-aside.ts';

const fileName = '.claude.json';
const backups = 'backups';
const backupName = /^\.claude\.json\.backup\.\d{1,15}$/;
const mostBackups = 20;
/** In bytes; the file has the history of prompts and grows to a few megabytes. */
const limit = 32 * 1024 * 1024;

export interface OnboardingOptions {
  configDirectory: string;
  /** BERTH_WORKSPACE_DIR, as the CLI sees it. */
  workspaceDirectory: string;
  /** The owner of written files, if this process may set it. */
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
    log.warn('onboarding_answered', `${fileName} is too large and stays unchanged`, {
      size: present.size,
    });
    return false;
  }
  let answers = await read(path);
  if (answers && isAnswered(answers, workspaceDirectory)) return false;
  if (!answers) {
    if (present) {
      const saved = await conflicts.save(path, fileName);
      log.warn('onboarding_answered', `${fileName} could not be used and was set aside`, { saved });
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
  log.debug(
    'onboarding_answered',
    "answered the CLI's first-start questions: onboarding, trust in the workspace",
    {
      workspace: workspaceDirectory,
    },
  );
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

/** The file's content; undefined if it is absent, unreadable, or not of the CLI's shape. */
async function read(path: string): Promise<Answers | undefined> {
  try {
    const content = await readFileBounded(path, limit);
    const answers = content && objectOf(JSON.parse(content.toString('utf8')));
    const projects = answers?.projects ?? {};
    return objectOf(projects) ? answers : undefined;
  } catch (error) {
    // Not a fault of the content: a temporarily unreadable file must not count as damaged.
    if (isPassing(error)) throw unreadable(path, error);
    if (['EACCES', 'EIO'].includes(systemCode(error) ?? '')) throw unwritable(path, error);
    return undefined;
  }
}

/** The content of the newest complete backup of the CLI. */
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
