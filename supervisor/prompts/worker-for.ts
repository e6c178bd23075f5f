/**
 * Waits until a prompt may be sent, and for a worker that can serve it.
 * Invariants: an unused pass is withdrawn, and a worker that came too late is released. A prompt whose worker ends
 * before it was sent gets another worker, once. A prompt is sent under its profile as it is then; a turn that continues
 * keeps the profile under which it began. A login that is about to expire is refreshed when the prompt has its
 * worker, so waiting for the refresh costs no position in the queue.
 */
import { asBerthError, BerthError, type ErrorCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { LiveApprovals } from '../approvals/live-approvals.ts';
import { requireServers } from '../claude/mcp-servers.ts';
import type { CliProblems } from '../health/cli-problems.ts';
import type { Pool } from '../pool/pool.ts';
import type { ProcessSpec } from '../pool/process-spec.ts';
import type { Worker } from '../pool/worker.ts';
import type { Admission } from './admission.ts';
import type { LimitGate, Pass, PassOptions } from './limit-gate.ts';
import type { LivePrompt } from './live-prompts.ts';
import type { Logins, LoginUse } from './login-use.ts';
import type { Prompt } from './prompt.ts';
import type { RecoveryOptions } from './recovery.ts';
import type { TurnEvent } from './turn.ts';

export interface WorkerForOptions {
  specs: Pick<RecoveryOptions['specs'], 'of'>;
  pool: Pool;
  gate: LimitGate;
  logins: Logins;
  admission: Pick<Admission, 'checkQuota'>;
  approvals: LiveApprovals;
  cliProblems: Pick<CliProblems, 'note'>;
  log: Log;
}

/** Milliseconds that a process which refused its options has to end. */
const graceOfRefused = 2_000;

export interface Wanted {
  live: LivePrompt;
  spec: ProcessSpec;
  /** Whether the prompt continues a turn that had begun. */
  continues: boolean;
  /** Whether the prompt had a worker already, which has ended: it is served first. */
  keepsTurn?: boolean;
}

export interface Found {
  pass: Pass;
  worker: Worker;
  use: LoginUse | undefined;
}

/** @throws BerthError of the gate, of the pool, or of a changed profile; the reason of an interrupt */
export async function workerFor(
  options: WorkerForOptions,
  { live, spec: wanted, continues, keepsTurn = false }: Wanted,
  emit: (event: TurnEvent) => void,
): Promise<Found> {
  const { pool, gate, logins, admission } = options;
  const { prompt, signal } = live;
  const { token, timeout, onLimit, lane } = prompt;
  const began = performance.now();
  const waited = live.queuedMs;
  const passing: PassOptions = {
    wait: onLimit === 'wait',
    deadline: Date.now() + timeout - (began - live.acceptedAt),
    signal,
    onWait: ({ reason, resets_at }) => {
      live.become('limited');
      if (reason) emit({ event: 'limited', data: { reason, resets_at } });
    },
  };
  const onQueued = (position: number): void => {
    emit({ event: 'queued', data: { position } });
    // A turn that waits for a person can continue in another process later.
    if (pool.count('starting') === 0) options.approvals.releaseOne();
  };
  let spec = wanted;
  let replaced = false;
  /** Whether the profile was loaded again: the process must have the flags of the new one. */
  const isRenewed = (): boolean => {
    if (continues || !live.renew()) return false;
    spec = options.specs.of(prompt);
    return true;
  };
  for (;;) {
    const pass = await gate.pass(logins.keyOf(prompt), passing);
    let worker: Worker | undefined;
    try {
      if (isRenewed()) {
        // The new profile may have another login.
        pass.withdraw();
        continue;
      }
      live.become('queued');
      worker = await pool.acquire({
        ...{ spec, token, lane, signal, onQueued },
        // The prompt keeps its turn if it had a worker that refused its options, or has ended.
        continues: continues || keepsTurn || spec !== wanted || replaced,
      });
      const use = await prepare(worker, live, options);
      live.queuedMs = waited + performance.now() - began;
      const found = { pass, worker, use };
      // A turn that has begun is finished; a prompt that has waited is measured again.
      const mayBeSent = (): boolean => {
        if (!continues) admission.checkQuota(prompt);
        if (isRenewed()) return false;
        // The last check: the prompt may be the probe for the end of a limit.
        pass.check();
        return true;
      };
      if (!isGood(found, pool, onLimit, mayBeSent)) continue;
      if (await bound(found, options)) return found;
      // A process with flags of its own serves the prompt; the caller notices nothing.
      spec = { ...spec, spare: undefined };
    } catch (error) {
      pass.withdraw();
      const hasEnded = worker !== undefined && !worker.process.alive;
      if (!hasEnded || replaced || signal.aborted) throw error;
      replaced = true;
    }
  }
}

/** Waits for the MCP servers and the login. A worker that does not become ready is released. */
async function prepare(
  worker: Worker,
  { prompt, signal }: LivePrompt,
  { pool, logins, cliProblems }: WorkerForOptions,
): Promise<LoginUse | undefined> {
  const { process, spec } = worker;
  try {
    await requireServers(process, prompt.profile.mcp.required, signal).finally(() =>
      cliProblems.note(spec.profile, process.health.reports),
    );
    const use = await logins.use(prompt, signal);
    if (process.alive) return use;
    void use?.over();
    throw endedBefore(worker);
  } catch (error) {
    pool.giveBack(worker);
    throw error;
  }
}

export function endedBefore({ name }: Worker): BerthError {
  return new BerthError(
    'cli_unavailable',
    `cannot send the prompt: the process of ${name} has ended; try again`,
  );
}

/** False if the worker is a shared spare that does not accept the options of the prompt: it is ended. */
async function bound({ pass, worker, use }: Found, { pool, log }: WorkerForOptions) {
  try {
    await worker.bind();
    return true;
  } catch (error) {
    log.warn('spare_refused', `${worker.name} did not accept the options of a prompt`, {
      worker: worker.name,
      profile: worker.spec.profile,
      error,
    });
    void pool.recycle(worker, 'unresponsive', true, graceOfRefused);
    void use?.over();
    pass.withdraw();
    return false;
  }
}

const limits: ReadonlySet<ErrorCode> = new Set(['usage_limit', 'rate_limited']);

/** False if a limit has closed the gate meanwhile, or the profile has changed: the prompt waits for the next pass. */
function isGood(
  { pass, worker, use }: Found,
  pool: Pool,
  onLimit: Prompt['onLimit'],
  mayBeSent: () => boolean,
): boolean {
  let refusal: BerthError | undefined;
  try {
    if (mayBeSent()) return true;
  } catch (error) {
    refusal = asBerthError(error);
  }
  pool.giveBack(worker);
  void use?.over();
  if (refusal && (onLimit === 'fail' || !limits.has(refusal.code))) throw refusal;
  pass.withdraw();
  return false;
}
