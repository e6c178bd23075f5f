/**
 * Sessions with checkouts come and go while the supervisor is killed again and again, with a bound of the disk and fewer
 * mirrors than repositories. At some of the kills the disk of the workspaces is lost. What must hold: each job ends
 * once, each session has the checkout of its repository and never that of another session, no directory is left over,
 * no mirror is damaged, the bound of the disk is kept, and the sessions that it removes are those used least recently.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { carryOn } from '../../supervisor/prompts/resume-prompt.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { type Repositories, startRepositories } from '../support/repositories.ts';
import { createRepository } from '../support/repository.ts';
import { until } from '../support/until.ts';
import { KilledBerth } from './jobs-berth.ts';
import { Random } from './random.ts';
import { inspect, runGit } from './workspaces-inspect.ts';

export interface WorkspacesRunOptions {
  directory: string;
  /** The CLI's executable. */
  cli: string;
  sessions: number;
  repositories: number;
  /** Kills of the supervisor, spread over the sessions. */
  kills: number;
  /** MiB that the sessions may take. */
  budget: number;
  seed: number;
  onKill?: (isDiskLost: boolean) => void;
}

export interface WorkspacesRunResult {
  succeeded: number;
  /** Prompts that continued a session. */
  continued: number;
  /** Kills at which the disk was lost. */
  lost: number;
  /** Checkouts that were made again. */
  remade: number;
  /** Sessions that the bound of the disk has removed. */
  removed: number;
  /** Of them, those that a job wanted to continue. */
  missed: number;
  mirrors: number;
  /** Bytes of the directories that are left. */
  bytes: number;
  problems: string[];
  seconds: number;
}

const bash = (command: string): string => `[[tool Bash ${JSON.stringify({ command })}]]`;
const patience = 600_000;

/** The number of sessions that a lane has begun before it continues one of them. */
const later = 5;
const lanes = 4;

export async function runWorkspaces(options: WorkspacesRunOptions): Promise<WorkspacesRunResult> {
  const { directory, budget } = options;
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
  const mostMirrors = Math.max(1, options.repositories - 2);
  const berth = await KilledBerth.make({
    ...{ directory: join(directory, 'berth'), cli: options.cli, api: api.url },
    settings: {
      BERTH_PROFILES_FILE: profiles,
      BERTH_GATEWAY_URL: scene.url,
      BERTH_MIRRORS: String(mostMirrors),
      BERTH_DISK_BUDGET: `${budget}Mi`,
      BERTH_MAX_WORKERS: String(lanes),
      // A round of the retention that removes nothing is logged at this level.
      BERTH_LOG_LEVEL: 'debug',
    },
  });
  cleanup.defer(() => berth.end());
  await berth.start();
  const workspace = join(directory, 'berth/workspace');
  const run: Run = {
    ...{ berth, scene, workspace, problems: [], lastUse: new Map(), used: new Set() },
    ...{ begun: 0, continued: 0, lost: 0, remade: 0, missed: 0, succeeded: 0 },
  };
  const killing = killAgain(run, new Random(options.seed + 1), options);
  const work = Array.from({ length: lanes }, (_, lane) => runLane(run, lane, options));
  await Promise.all(work);
  await killing;
  const { lastUse, used } = run;
  const seen = await inspect(berth, {
    ...{ workspace, budget: budget * 2 ** 20, mostMirrors, lastUse },
  });
  const { problems, continued, lost, remade, missed, succeeded } = run;
  return {
    ...{ succeeded, continued, lost, remade, missed, mirrors: seen.mirrors, bytes: seen.bytes },
    removed: used.size - seen.sessions,
    problems: [...problems, ...seen.problems],
    seconds: Math.round((performance.now() - began) / 1_000),
  };
}

interface Run {
  berth: KilledBerth;
  scene: Repositories;
  /** Directory of the workspaces. */
  workspace: string;
  problems: string[];
  /** Milliseconds since 1970, by the ids of sessions. */
  lastUse: Map<string, number>;
  /** Ids of all sessions. */
  used: Set<string>;
  /** Sessions that have begun. */
  begun: number;
  continued: number;
  lost: number;
  remade: number;
  missed: number;
  succeeded: number;
}

interface Session {
  index: number;
  repository: number;
  id: string;
  /** Null if there was nothing to publish. */
  branch: string | null;
  /** Whether the branch must have the mark of the first job. */
  isMarked: boolean;
}

function makeRepository({ root }: Repositories, index: number): void {
  createRepository(root, `me/r${index}`, {
    'which.txt': `r${index}\n`,
    'noise.bin': randomBytes(100_000),
  });
}

/** Half of the sessions are continued: at once, or after later sessions, when the bound may have removed them. */
async function runLane(run: Run, lane: number, options: WorkspacesRunOptions): Promise<void> {
  const random = new Random(options.seed + 10 + lane);
  const waiting: Session[] = [];
  for (let index = lane; index < options.sessions; index += lanes) {
    run.begun += 1;
    const session = await beginSession(run, index, random.below(options.repositories));
    const how = random.below(4);
    if (!session || how > 1) continue;
    if (how === 0) await continueSession(run, session);
    else waiting.push(session);
    const first = waiting.length > later && waiting.shift();
    if (first) await continueSession(run, first);
  }
  for (const session of waiting) await continueSession(run, session);
}

/** Each job lists what is there before it adds its own mark. */
const look = (mark: string): string => bash(`cat which.txt; ls; touch ${mark}`);

async function beginSession(
  run: Run,
  index: number,
  repository: number,
): Promise<Session | undefined> {
  const { lost } = run;
  const seen = await job(run, `${index}-a`, {
    ...{ prompt: look(`mark-${index}-a`), profile: 'code', publish: {} },
    workspace: { repo: `me/r${repository}` },
  });
  // What was not published yet goes with the disk.
  const isMarked = run.lost === lost;
  const session = { index, repository, id: '', branch: null, isMarked };
  if (!(await check(run, seen, session, isMarked ? [`mark-${index}-a`] : []))) return undefined;
  const { session_id, workspace } = seen.result;
  return { ...session, id: session_id, branch: workspace.branch };
}

async function continueSession(run: Run, session: Session): Promise<void> {
  const { index, id: session_id, branch, isMarked } = session;
  const { lost } = run;
  run.continued += 1;
  const seen = await job(run, `${index}-b`, {
    ...{ prompt: look(`mark-${index}-b`), profile: 'code', session_id, publish: {} },
  });
  const own = run.lost === lost ? [`mark-${index}-b`] : [];
  const marks = isMarked ? [`mark-${index}-a`, ...own] : own;
  if (!(await check(run, seen, session, marks))) return;
  const now = seen.result.workspace.branch;
  if (branch !== null && now !== branch) run.problems.push(`${index}: another branch ${now}`);
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
  let last: Seen;
  const ended = until(
    `the job ${key} ends`,
    async () => {
      await delay(100);
      const reply = await berth.call('GET', `/v1/jobs/${accepted.id}`).catch(() => undefined);
      last = reply?.body ?? last;
      const { state } = reply?.body ?? {};
      return ['succeeded', 'failed', 'expired', 'cancelled'].includes(state) && reply?.body;
    },
    patience,
  );
  return ended.catch((error: Error) => {
    throw new Error(`${error.message}; it was ${JSON.stringify(last)}`, { cause: error });
  });
}

/** @returns whether the job succeeded */
async function check(
  run: Run,
  seen: Seen,
  { index, repository }: Session,
  marks: readonly string[],
): Promise<boolean> {
  const problem = (text: string): void => void run.problems.push(`the session ${index}: ${text}`);
  if (seen.state !== 'succeeded') {
    // The bound of the disk may remove a session before its second job runs.
    if (seen.error?.code === 'session_not_found') run.missed += 1;
    else problem(`${seen.state}: ${seen.error?.code} ${seen.error?.detail}`);
    return false;
  }
  run.succeeded += 1;
  const { result, workspace, session_id } = seen.result;
  run.used.add(session_id);
  const lastUse = await lastUseOf(run, session_id);
  if (lastUse !== undefined) run.lastUse.set(session_id, lastUse);
  if (workspace.remade) run.remade += 1;
  if (workspace.repo !== `me/r${repository}`) problem(`has ${workspace.repo}`);
  if (workspace.problem) problem(`was not published: ${workspace.problem.detail}`);
  // The stand-in for the model answers the words with which a turn goes on, and makes no call that was left.
  const isUndone = String(result).includes(carryOn);
  if (workspace.branch === null) {
    if (marks.length > 0 && !isUndone) problem('has published nothing');
    return true;
  }
  const path = join(run.scene.root, `me/r${repository}.git`);
  const files = runGit(path, 'ls-tree', '--name-only', '-r', workspace.branch).trim().split('\n');
  const strange = files.filter(
    (name) => name.startsWith('mark-') && !name.startsWith(`mark-${index}-`),
  );
  if (strange.length > 0) problem(`its branch has ${strange.join(' ')}`);
  const missing = isUndone ? [] : marks.filter((mark) => !files.includes(mark));
  if (missing.length > 0)
    problem(`its branch lacks ${missing.join(' ')}: ${String(result).slice(0, 200)}`);
  return true;
}

/** @returns undefined if the bound of the disk has removed the session already */
async function lastUseOf({ berth }: Run, id: string): Promise<number | undefined> {
  const found = await until(
    'the session is shown or gone',
    async () => {
      const reply = await berth.call('GET', `/v1/sessions/${id}`).catch(() => undefined);
      return reply?.status === 200 || reply?.status === 404 ? reply.body : undefined;
    },
    patience,
  );
  return found.last_used_at === undefined ? undefined : Date.parse(found.last_used_at);
}

/** Kills the supervisor when its share of the sessions has begun; at every third kill the disk is lost too. */
async function killAgain(
  run: Run,
  random: Random,
  { kills, sessions, onKill }: WorkspacesRunOptions,
): Promise<void> {
  const { berth, workspace } = run;
  for (let count = 0; count < kills; count++) {
    const due = Math.floor(((count + 0.5) * sessions) / kills);
    await until('the next kill is due', () => run.begun >= due || run.begun >= sessions, 3_600_000);
    await delay(random.below(2_000));
    const isDiskLost = count % 3 === 1;
    await berth.kill(isDiskLost || random.below(2) === 0);
    if (isDiskLost) {
      run.lost += 1;
      for (const name of readdirSync(workspace)) {
        rmSync(join(workspace, name), { recursive: true, force: true, maxRetries: 5 });
      }
    }
    onKill?.(isDiskLost);
    await berth.start();
  }
}
