/**
 * Leave to send a prompt, and a worker for it.
 * Always holds: leave that is not used is withdrawn, and a worker that came too late is given back.
 * Where the login is about to be refreshed, that happens with the worker in hand: who is served next is
 * decided already, and nobody loses his place.
 */
import { requireServers } from '../claude/mcp-servers.ts';
import type { Pool } from '../pool/pool.ts';
import type { Order } from '../pool/process-spec.ts';
import type { Worker } from '../pool/worker.ts';
import type { LimitGate, Pass, PassOptions } from './limit-gate.ts';
import type { LivePrompt } from './live-prompt.ts';
import type { LoginUse } from './login-use.ts';
import type { Prompt } from './prompt.ts';
import type { TurnEvent } from './turn.ts';

interface WorkerForOptions {
  pool: Pool;
  gate: LimitGate;
  loginOf: (prompt: Prompt) => string;
  /** Resolves when the turn may begin, as far as its login is concerned. */
  useLogin: (prompt: Prompt, signal: AbortSignal) => Promise<LoginUse>;
  /** Told how a worker's process is. */
  onHealth: (worker: Worker) => void;
}

export interface Wanted {
  live: LivePrompt;
  order: Order;
  /** It goes on with a turn that had begun. */
  goesOn: boolean;
}

export interface Found {
  pass: Pass;
  worker: Worker;
  use: LoginUse;
}

/** @throws BerthError of the gate or the pool; the signal's reason */
export async function workerFor(
  { pool, gate, loginOf, useLogin, onHealth }: WorkerForOptions,
  { live, order, goesOn }: Wanted,
  tell: (event: TurnEvent) => void,
): Promise<Found> {
  const { prompt, signal } = live;
  const { token, timeout, onLimit } = prompt;
  const login = loginOf(prompt);
  const began = performance.now();
  const waited = live.queuedMs;
  const passing: PassOptions = {
    wait: onLimit === 'wait',
    deadline: Date.now() + timeout - (began - live.acceptedAt),
    signal,
    onWait: ({ reason, resets_at }) => {
      live.become('limited');
      if (reason) tell({ event: 'limited', data: { reason, resets_at } });
    },
  };
  const onQueued = (position: number): void => tell({ event: 'queued', data: { position } });
  for (;;) {
    const pass = await gate.pass(login, passing);
    try {
      live.become('queued');
      const worker = await pool.acquire({ order, token, goesOn, signal, onQueued });
      const giveBack = (error: unknown): never => {
        pool.giveBack(worker);
        throw error;
      };
      const { required } = prompt.profile.mcp;
      await requireServers(worker.process, required, signal)
        .finally(() => onHealth(worker))
        .catch(giveBack);
      const use = await useLogin(prompt, signal).catch(giveBack);
      live.queuedMs = waited + performance.now() - began;
      const found = { pass, worker, use };
      if (isGood(found, pool, onLimit)) return found;
    } catch (error) {
      pass.withdraw();
      throw error;
    }
  }
}

/** False if it is worth waiting for another pass; the worker is given back then. */
function isGood({ pass, worker, use }: Found, pool: Pool, onLimit: Prompt['onLimit']): boolean {
  try {
    pass.check();
    return true;
  } catch (error) {
    pool.giveBack(worker);
    void use.over();
    if (onLimit === 'fail') throw error;
    pass.withdraw();
    return false;
  }
}
