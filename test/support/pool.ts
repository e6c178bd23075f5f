/** A pool of real CLI processes on folders of its own, and prompts to it as sessions/ sends them. */
import type { Test } from 'tap';
import { cliEnvironment, marksOf } from '../../supervisor/claude/environment.ts';
import { cliArguments } from '../../supervisor/claude/flags.ts';
import { ClaudeProcess } from '../../supervisor/claude/process.ts';
import { killMarked } from '../../supervisor/memory/kill-marked.ts';
import { Pool, type PoolOptions } from '../../supervisor/pool/pool.ts';
import { prepareWorker } from '../../supervisor/pool/prepare.ts';
import type { ProcessSpec } from '../../supervisor/pool/process-spec.ts';
import type { Worker } from '../../supervisor/pool/worker.ts';
import { captureLog } from './captured-log.ts';
import { makeSurroundings, type Surroundings, scriptedClaude } from './claude.ts';
import { processesOf } from './processes.ts';
import { until } from './until.ts';

export interface StartPoolOptions extends Partial<Omit<PoolOptions, 'warm'>> {
  warmWorkers?: number;
  path?: () => string;
  surroundings?: Surroundings;
  /** Milliseconds for SessionEnd hooks. */
  sessionEnd?: number;
}

/** What is asked for where it differs from the usual. */
export type Wanted = Partial<Omit<ProcessSpec, 'launch'>> & {
  token?: string;
  continues?: boolean;
  signal?: AbortSignal;
};

/** On every event of the pool it is looked at whether there are too many processes. */
export async function startPool(t: Test, options: StartPoolOptions = {}) {
  const {
    path = () => scriptedClaude,
    surroundings = await makeSurroundings(t),
    sessionEnd = 0,
    ...rest
  } = options;
  const { warmWorkers = 0, ...poolOptions } = rest;
  let most = 0;
  let launches = 0;
  const recycled: string[] = [];
  const sample = (): void => {
    // The CLI itself, not what it starts, which bears its name until it has its own.
    const own = processesOf(surroundings.config).filter(
      ({ command, leader }) => leader && /claude/.test(command),
    );
    most = Math.max(most, own.length);
  };
  const log = captureLog(sample);
  const specOf = (wanted: Wanted = {}): ProcessSpec => {
    const { sessionId } = wanted;
    return {
      profile: 'default',
      key: 'default',
      sessionId,
      resumes: sessionId !== undefined,
      once: false,
      own: false,
      launch: (name) => {
        launches += 1;
        return new ClaudeProcess({
          path: path(),
          arguments: cliArguments({ resume: sessionId }),
          environment: cliEnvironment(surroundings.inherited, surroundings.config, name),
          workingDirectory: surroundings.workspace,
          sessionEnd,
          onStray: () => {},
        });
      },
      ...wanted,
    };
  };
  const pool = new Pool({
    warm: () => [{ spec: specOf(), count: warmWorkers }],
    maxWorkers: 2,
    queueLimit: 10,
    idleTimeout: 600_000,
    prepare: prepareWorker,
    clearAway: (name) => killMarked(marksOf(surroundings.config, name)),
    onRecycle: (reason) => recycled.push(reason),
    log: log.log,
    ...poolOptions,
  });
  t.teardown(() => pool.stop());
  pool.start();
  const acquire = (wanted: Wanted = {}, onQueued = (_place: number): void => {}): Promise<Worker> =>
    pool.acquire({
      spec: specOf(wanted),
      token: wanted.token ?? 'tests',
      continues: wanted.continues ?? false,
      signal: wanted.signal ?? new AbortController().signal,
      onQueued,
    });
  return {
    pool,
    surroundings,
    log,
    recycled,
    acquire,
    /** The most CLI processes that were ever there at once. */
    most: () => most,
    launches: () => launches,
    ready: () => until('a worker is warm', () => pool.count('warm') > 0),
    /** One prompt, as sessions/ does it. */
    async ask(text: string, sessionId?: string, wanted: Wanted = {}) {
      const worker = await acquire({ sessionId, ...wanted });
      try {
        const result = await worker.process.run(text);
        worker.sessionId = result.sessionId;
        return { worker, result, sessionId: result.sessionId };
      } finally {
        pool.release(worker, worker.process.idle);
      }
    },
  };
}
