/** What the soak of workspaces finds on the disk, and in the list of sessions, at its end. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { sizeOfTree } from '../../shared/remove-tree.ts';
import { gitEnvironment } from '../support/repository.ts';
import { until } from '../support/until.ts';
import type { KilledBerth } from './jobs-berth.ts';

export interface Inspection {
  mirrors: number;
  /** Sessions that are left. */
  sessions: number;
  /** Bytes of their directories. */
  bytes: number;
  problems: string[];
}

interface InspectOptions {
  workspace: string;
  /** The bound of the disk, in bytes. */
  budget: number;
  mostMirrors: number;
  /** The last use of sessions in milliseconds since 1970, by their ids. */
  lastUse: ReadonlyMap<string, number>;
}

interface Listed {
  id: string;
  last_used_at: string;
  working_directory: { path: string };
}

/** Starts the supervisor once more, whose start removes what a kill has left and keeps the bound, and ends it. */
export async function inspect(berth: KilledBerth, options: InspectOptions): Promise<Inspection> {
  const { workspace, budget, mostMirrors, lastUse } = options;
  const problems: string[] = [];
  await berth.kill(true);
  await berth.start();
  await until('the start has removed what was left', () => berth.logged('retention_round'));
  const sessions = await allSessions(berth);
  await berth.end();
  const known = new Set(sessions.map(({ working_directory }) => basename(working_directory.path)));
  const directories = join(workspace, 'sessions');
  const names = readdirSync(directories);
  const left = names.filter((name) => !known.has(name));
  if (left.length > 0) problems.push(`${left.length} directories belong to no session`);
  const bytes = await sizeOfTree(directories);
  if (bytes > budget) problems.push(`the directories have ${bytes} bytes, more than ${budget}`);
  const early = earlierThanRemoved(sessions, lastUse);
  if (early.length > 0) problems.push(`${early.length} sessions outlived one that was used later`);
  // What is checked out for the next session stays until the next start.
  const staged = readdirSync(join(workspace, 'staging')).filter((name) => !name.endsWith('.tree'));
  if (staged.length > 0) problems.push(`${staged.length} directories are left in staging/`);
  mkdirSync(join(workspace, 'mirrors'), { recursive: true });
  const mirrors = readdirSync(join(workspace, 'mirrors'));
  if (mirrors.length > mostMirrors) problems.push(`there are ${mirrors.length} mirrors`);
  const repositories = [
    ...mirrors.map((name) => join(workspace, 'mirrors', name)),
    ...names.map((name) => join(directories, name, '.git')),
  ];
  for (const path of repositories) {
    try {
      runGit(path, 'fsck', '--full', '--connectivity-only');
    } catch (error) {
      problems.push(`${path} is damaged: ${(error as Error).message.slice(0, 300)}`);
    }
  }
  return { mirrors: mirrors.length, sessions: sessions.length, bytes, problems };
}

/** Sessions that are left although the bound has removed a session that was used after them. */
function earlierThanRemoved(
  sessions: readonly Listed[],
  lastUse: ReadonlyMap<string, number>,
): Listed[] {
  const left = new Set(sessions.map(({ id }) => id));
  const removed = [...lastUse].filter(([id]) => !left.has(id)).map(([, at]) => at);
  const latest = Math.max(0, ...removed);
  return sessions.filter(({ last_used_at }) => Date.parse(last_used_at) < latest);
}

async function allSessions(berth: KilledBerth): Promise<Listed[]> {
  const found: Listed[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const query: string = cursor === '' ? '' : `&cursor=${cursor}`;
    const { body } = await berth.call('GET', `/v1/sessions?limit=200${query}`);
    found.push(...body.sessions);
    cursor = body.next;
  }
  return found;
}

/** @param path a git directory */
export function runGit(path: string, ...args: string[]): string {
  const env = { ...gitEnvironment(), GIT_DIR: path };
  return execFileSync('git', args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
