/**
 * Takes out of `.claude.json` what the CLI notes of each directory that it has worked in, some kilobyte of
 * figures and answers, where that was a session's own and is gone: the CLI never does, and rewrites the
 * whole file at each start. As seen with the CLI 2.1.330: `projects[<absolute path>]`.
 * Always holds: called while no CLI runs, for each of them writes the file at will; the file is whole or as
 * it was, and nothing else in it is changed; one that changes meanwhile, or cannot be read, stays.
 */
import { lstat, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { ownDirectories, ownName } from './workspaces.ts';

/** Bytes; as init has it. */
const limit = 32 * 1024 * 1024;

export interface ForgetOptions {
  configDirectory: string;
  workspaceDirectory: string;
  /** The names of sessions' own directories that are there. */
  present: readonly string[];
  /** Rejects if another may work on the volume. */
  assertHeld: () => Promise<void>;
  log: Log;
}

/** Never rejects. @returns how many were taken out */
export async function forgetDirectories(options: ForgetOptions): Promise<number> {
  try {
    return await forget(options);
  } catch (error) {
    const text = `cannot take directories that are gone out of .claude.json: ${messageOf(error)}`;
    options.log.warn('retention_failed', text, { error });
    return 0;
  }
}

async function forget(options: ForgetOptions): Promise<number> {
  const { configDirectory, workspaceDirectory, present, assertHeld } = options;
  const path = join(configDirectory, '.claude.json');
  const before = await readFileBounded(path, limit);
  if (!before) return 0;
  const content: unknown = JSON.parse(before.toString('utf8'));
  const projects = isObject(content) ? content.projects : undefined;
  if (!isObject(content) || !isObject(projects)) return 0;
  const real = await realpath(workspaceDirectory).catch(() => workspaceDirectory);
  const there = new Set(present);
  let forgotten = 0;
  for (const root of new Set([workspaceDirectory, real])) {
    const parent = `${join(root, ownDirectories)}/`;
    for (const key of Object.keys(projects)) {
      const name = key.startsWith(parent) ? key.slice(parent.length) : '';
      if (!ownName.test(name) || there.has(name)) continue;
      delete projects[key];
      forgotten += 1;
    }
  }
  if (forgotten === 0) return 0;
  const { mode } = await lstat(path);
  await writeFileAtomic(path, `${JSON.stringify(content, null, 2)}\n`, {
    mode: mode & 0o777,
    beforeRename: async () => {
      await assertHeld();
      if (!(await readFileBounded(path, limit))?.equals(before)) {
        throw new Error('it has just changed');
      }
    },
  });
  return forgotten;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
