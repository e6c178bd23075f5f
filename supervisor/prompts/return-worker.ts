/**
 * Returns the worker of an attempt to the pool: releases it for the next prompt, or ends its process.
 * Invariants: the login and the pass of the attempt are always given up. The pass learns the outcome only if that is
 * information about the account. A session whose turn is continued is reserved before its worker is released.
 */
import { asBerthError } from '../../shared/errors.ts';
import type { Pool } from '../pool/pool.ts';
import type { Worker } from '../pool/worker.ts';
import type { SessionCatalog } from '../sessions/catalog.ts';
import type { RecordKeeper } from '../sessions/record-keeper.ts';
import type { WorkingDirectory, Workspaces } from '../sessions/workspaces.ts';
import { isGivenUp } from './approvals-of.ts';
import { TurnLost } from './lost-turn.ts';
import { afterTurn } from './turn.ts';
import type { Found } from './worker-for.ts';

export interface ReturnOptions {
  pool: Pick<Pool, 'giveBack' | 'hold' | 'recycle' | 'release'>;
  catalog: Pick<SessionCatalog, 'discard'>;
  keeper: Pick<RecordKeeper, 'forget'>;
}

/** How an attempt ended, as far as this decides about its worker. */
export interface AttemptEnd {
  /** What the attempt failed with, also a `TurnLost`; undefined after an answer. */
  failure: unknown;
  /** Whether the process ended before the prompt was sent to it. */
  isLostUnsent: boolean;
  /** Whether the directory of the worker could not be filled with the checkout. */
  isUnfilled: boolean;
  /** The session that was recorded for the prompt, if the prompt was not sent to it. */
  unsentSession: string | undefined;
}

/** @returns ends the reservation of the session; undefined if the session is not reserved */
export function returnWorker(
  options: ReturnOptions,
  { pass, worker, use }: Found,
  { failure, isLostUnsent, isUnfilled, unsentSession }: AttemptEnd,
): (() => void) | undefined {
  const { pool } = options;
  void use?.over();
  const { sessionId } = worker;
  const reserve = () => (sessionId === undefined ? undefined : pool.hold(sessionId));
  if (isUnfilled || isLostUnsent) {
    pass.withdraw();
    const reservation = isLostUnsent ? reserve() : undefined;
    // A new process would keep the half of a checkout for another prompt.
    if (sessionId !== undefined) pool.giveBack(worker);
    else if (worker.process.alive) void pool.recycle(worker, 'removed', true);
    return reservation;
  }
  if (failure instanceof TurnLost) {
    // The end of a process is not information about the account.
    pass.withdraw();
    const reservation = reserve();
    // A process that hung is still alive, and must not serve another prompt.
    if (worker.process.alive) void pool.recycle(worker, 'unresponsive', true);
    return reservation;
  }
  if (unsentSession !== undefined) {
    pass.withdraw();
    void dropUnsent(options, worker, unsentSession);
  } else if (isGivenUp(failure)) {
    pass.withdraw();
    // Its process still waits for the answer, which the next process of the session gets.
    void pool.recycle(worker, 'approval', true);
  } else {
    pass.done(failure === undefined ? undefined : asBerthError(failure));
    afterTurn(worker, (usable) => pool.release(worker, usable));
  }
  return undefined;
}

/** Removes a session that was recorded and never had its prompt, and ends the process with the id of that session. */
async function dropUnsent(
  { pool, catalog, keeper }: ReturnOptions,
  worker: Worker,
  sessionId: string,
): Promise<void> {
  worker.sessionId = undefined;
  if (worker.process.alive) void pool.recycle(worker, 'removed', true);
  await worker.gone;
  await keeper.forget(sessionId);
  await catalog.discard(sessionId);
}

/**
 * Removes the directory of a worker that has ended before its prompt was sent; never rejects. The pool has removed the
 * directory of such a worker already, but a checkout may have been made there meanwhile. A session keeps its directory.
 */
export async function removeUnused(
  workspaces: Pick<Workspaces, 'remove'>,
  { sessionId }: Worker,
  directory: WorkingDirectory | undefined,
): Promise<void> {
  if (sessionId !== undefined || !directory) return;
  await workspaces.remove(directory).catch(() => undefined);
}
