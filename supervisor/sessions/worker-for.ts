/**
 * Leave to send a prompt, and a worker for it.
 * Always holds: leave that is not used is withdrawn, and a worker that came too late is given back.
 */
import type { Order } from '../pool/order.ts';
import type { Pool } from '../pool/pool.ts';
import type { Worker } from '../pool/worker.ts';
import type { LimitGate, Pass, PassOptions } from './limit-gate.ts';
import type { Progress } from './progress.ts';
import type { Prompt } from './prompt.ts';
import type { TurnEvent } from './turn.ts';

interface WorkerForOptions {
  pool: Pool;
  gate: LimitGate;
  loginOf: (prompt: Prompt) => string;
}

export interface Wanted {
  prompt: Prompt;
  order: Order;
  /** It goes on with a turn that had begun. */
  goesOn: boolean;
  /** Is told how long it waited. */
  progress: Progress;
}

/** @throws BerthError of the gate or the pool; the signal's reason */
export async function workerFor(
  { pool, gate, loginOf }: WorkerForOptions,
  { prompt, order, goesOn, progress }: Wanted,
  signal: AbortSignal,
  tell: (event: TurnEvent) => void,
): Promise<{ pass: Pass; worker: Worker }> {
  const { token, timeout, onLimit } = prompt;
  const login = loginOf(prompt);
  const began = performance.now();
  const waited = progress.queuedMs;
  const passing: PassOptions = {
    wait: onLimit === 'wait',
    deadline: Date.now() + timeout - (began - progress.accepted),
    signal,
    onWait: ({ reason, resets_at }) => {
      if (reason) tell({ event: 'limited', data: { reason, resets_at } });
    },
  };
  const onQueued = (position: number): void => tell({ event: 'queued', data: { position } });
  for (;;) {
    progress.limited = true;
    const pass = await gate.pass(login, passing).finally(() => {
      progress.limited = false;
    });
    try {
      const worker = await pool.acquire({ order, token, goesOn, signal, onQueued });
      progress.queuedMs = waited + performance.now() - began;
      if (isGood(pass, worker, pool, onLimit)) return { pass, worker };
    } catch (error) {
      pass.withdraw();
      throw error;
    }
  }
}

/** False if it is worth waiting for another pass; the worker is given back then. */
function isGood(pass: Pass, worker: Worker, pool: Pool, onLimit: Prompt['onLimit']): boolean {
  try {
    pass.check();
    return true;
  } catch (error) {
    pool.giveBack(worker);
    if (onLimit === 'fail') throw error;
    pass.withdraw();
    return false;
  }
}
