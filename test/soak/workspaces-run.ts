/**
 * Sessions with checkouts come and go while the supervisor is killed again and again, with a bound of the disk and fewer
 * mirrors than repositories. What must hold: each job ends once, each session has the checkout of its repository and
 * never that of another session, no directory is left over, and no mirror is damaged.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startMessagesApi } from '../support/messages-api.ts';
import { type Repositories, startRepositories } from '../support/repositories.ts';
import { createRepository, gitEnvironment } from '../support/repository.ts';
import { until } from '../support/until.ts';
import { KilledBerth } from './jobs-berth.ts';
import { Random } from './random.ts';

export interface WorkspacesRunOptions {
  directory: string;
  /** The CLI's executable. */
  cli: string;
  sessions: number;
  repositories: number;
  kills: number;
  seed: number;
  /** Milliseconds between two kills, at most. */
  between: number;
  onKill?: () => void;
}

export interface WorkspacesRunResult {
  succeeded: number;
  /** Prompts that continued a session. */
  continued: number;
  /** Checkouts that were made again. */
  remade: number;
  /** Sessions that the bound of the disk has removed. */
  removed: number;
  mirrors: number;
  problems: string[];
  seconds: number;
}

const bash = (command: string): string => `[[tool Bash ${JSON.stringify({ command })}]]`;
const patience = 240_000;

export async function runWorkspaces(options: WorkspacesRunOptions): Promise<WorkspacesRunResult> {
  const { directory, sessions, seed } = options;
  const began = performance.now();
  await using cleanup = new AsyncDisposableStack();
  const scene = await startRepositories(directory, cleanup);
  for (let index = 0; index < options.repositories; index++) makeRepository(scene, index);
  const api = await startMessagesApi();
  cleanup.defer(() => api.close());
  const profiles = join(directory, 'profiles.yaml');
  writeFileSync(
    profiles,
    'profiles:\n  code: {warm: 1, workspaces: {repos: ["me/*"], publish: true}}\n',
  );
  const berth = await KilledBerth.make({
    ...{ directory: join(directory, 'berth'), cli: options.cli, api: api.url },
    settings: {
      BERTH_PROFILES_FILE: profiles,
      BERTH_GATEWAY_URL: scene.url,
      BERTH_MIRRORS: String(Math.max(1, options.repositories - 2)),
      BERTH_DISK_BUDGET: '24Mi',
      BERTH_MAX_WORKERS: '4',
    },
  });
  cleanup.defer(() => berth.end());
  await berth.start();
  const killing = killAgain(berth, new Random(seed + 1), options);
  const run: Run = {
    berth,
    scene,
    problems: [],
    continued: 0,
    remade: 0,
    removed: 0,
    succeeded: 0,
  };
  const lanes = Array.from({ length: 4 }, async (_, lane) => {
    const own = new Random(seed + 10 + lane);
    for (let index = lane; index < sessions; index += 4) {
      await oneSession(run, index, own.below(options.repositories), own.below(2) === 0);
    }
  });
  await Promise.all(lanes);
  await killing;
  const mirrors = await inspect(run, join(directory, 'berth/workspace'));
  const { problems, continued, remade, removed, succeeded } = run;
  const seconds = Math.round((performance.now() - began) / 1_000);
  return { succeeded, continued, remade, removed, mirrors, problems, seconds };
}

interface Run {
  berth: KilledBerth;
  scene: Repositories;
  problems: string[];
  continued: number;
  remade: number;
  removed: number;
  succeeded: number;
}

function makeRepository({ root }: Repositories, index: number): void {
  createRepository(root, `me/r${index}`, {
    'which.txt': `r${index}\n`,
    'noise.bin': randomBytes(100_000),
  });
}

/** One session: a job that marks its checkout and publishes it, and perhaps a second one that continues. */
async function oneSession(run: Run, index: number, repository: number, again: boolean) {
  const { problems } = run;
  // Each tells what is there before it adds its own mark.
  const look = (mark: string): string => bash(`cat which.txt; ls; touch ${mark}`);
  const repo = `me/r${repository}`;
  const first = await job(run, `${index}-a`, {
    ...{ prompt: look(`mark-${index}-a`), profile: 'code', workspace: { repo }, publish: {} },
  });
  check(run, first, index, repository, []);
  if (!again || first?.state !== 'succeeded') return;
  run.continued += 1;
  const { session_id } = first.result;
  const second = await job(run, `${index}-b`, {
    ...{ prompt: look(`mark-${index}-b`), profile: 'code', session_id, publish: {} },
  });
  if (second?.error?.code === 'session_not_found') {
    run.removed += 1;
    return;
  }
  check(run, second, index, repository, [`mark-${index}-a`]);
  const branch = second?.result?.workspace?.branch;
  if (branch !== first.result.workspace.branch) problems.push(`${index}: another branch ${branch}`);
}

// biome-ignore lint/suspicious/noExplicitAny: answers are read field by field.
type Seen = any;

async function job({ berth, problems }: Run, key: string, body: object): Promise<Seen> {
  const headers = { 'idempotency-key': key };
  let refused: Seen;
  const accepted = await until(
    `the job ${key} is accepted`,
    async () => {
      const reply = await berth.call('POST', '/v1/jobs', body, headers).catch(() => undefined);
      if (reply?.status === 404) refused = { state: 'failed', error: reply.body };
      else if (reply && reply.status !== 202 && reply.status !== 503) {
        problems.push(`${key}: ${JSON.stringify(reply.body)}`);
      }
      return refused ? {} : reply?.status === 202 && reply.body;
    },
    patience,
  );
  if (refused) return refused;
  return until(
    `the job ${key} ends`,
    async () => {
      await delay(100);
      const reply = await berth.call('GET', `/v1/jobs/${accepted.id}`).catch(() => undefined);
      const { state } = reply?.body ?? {};
      return ['succeeded', 'failed', 'expired', 'cancelled'].includes(state) && reply?.body;
    },
    patience,
  );
}

function check(run: Run, seen: Seen, index: number, repository: number, marks: readonly string[]) {
  const problem = (text: string): void => void run.problems.push(`the session ${index}: ${text}`);
  if (seen.state !== 'succeeded') {
    // The bound of the disk may remove a session before its second job runs.
    if (seen.error?.code === 'session_not_found') run.removed += 1;
    else problem(`${seen.state}: ${seen.error?.code} ${seen.error?.detail}`);
    return;
  }
  run.succeeded += 1;
  const { result, workspace } = seen.result;
  if (workspace.remade) run.remade += 1;
  if (workspace.repo !== `me/r${repository}`) problem(`has ${workspace.repo}`);
  if (workspace.problem) problem(`was not published: ${workspace.problem.detail}`);
  const path = join(run.scene.root, `me/r${repository}.git`);
  const files = git(path, 'ls-tree', '--name-only', '-r', workspace.branch).trim().split('\n');
  const strange = files.filter(
    (name) => name.startsWith('mark-') && !name.startsWith(`mark-${index}-`),
  );
  if (strange.length > 0) problem(`its branch has ${strange.join(' ')}`);
  const missing = marks.filter((mark) => !files.includes(mark));
  if (missing.length > 0)
    problem(`its branch lacks ${missing.join(' ')}: ${String(result).slice(0, 200)}`);
}

/** @returns the number of mirrors */
async function inspect({ berth, problems }: Run, workspace: string): Promise<number> {
  // The last start of the supervisor removes what a kill has left.
  await berth.kill(false);
  await berth.start();
  await delay(3_000);
  const known = new Set<string>();
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: Seen = await berth.call(
      'GET',
      `/v1/sessions?limit=200${cursor ? `&cursor=${cursor}` : ''}`,
    );
    for (const { working_directory } of page.body.sessions) {
      known.add(basename(working_directory.path));
    }
    cursor = page.body.next;
  }
  await berth.end();
  const left = readdirSync(join(workspace, 'sessions')).filter((name) => !known.has(name));
  if (left.length > 0) problems.push(`${left.length} directories belong to no session`);
  const staged = readdirSync(join(workspace, 'staging'));
  if (staged.length > 0) problems.push(`${staged.length} directories are left in staging/`);
  mkdirSync(join(workspace, 'mirrors'), { recursive: true });
  const mirrors = readdirSync(join(workspace, 'mirrors'));
  for (const name of mirrors) {
    try {
      git(join(workspace, 'mirrors', name), 'fsck', '--full', '--connectivity-only');
    } catch (error) {
      problems.push(`the mirror ${name} is damaged: ${(error as Error).message.slice(0, 300)}`);
    }
  }
  for (const name of readdirSync(join(workspace, 'sessions'))) {
    try {
      git(join(workspace, 'sessions', name, '.git'), 'fsck', '--connectivity-only');
    } catch (error) {
      problems.push(`the checkout ${name} is damaged: ${(error as Error).message.slice(0, 300)}`);
    }
  }
  return mirrors.length;
}

function git(directory: string, ...args: string[]): string {
  const env = { ...gitEnvironment(), GIT_DIR: directory };
  return execFileSync('git', args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

async function killAgain(
  berth: KilledBerth,
  random: Random,
  { kills, between, onKill }: WorkspacesRunOptions,
): Promise<void> {
  for (let count = 0; count < kills; count++) {
    await delay(500 + random.below(between));
    await berth.kill(random.below(2) === 0);
    onKill?.();
    await berth.start();
  }
}
