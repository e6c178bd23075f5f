/** The errors of a CLI process: what its end, its refusals and its unclear results are for a caller. */
import { BerthError } from '../../shared/errors.ts';
import type { CliChild } from './child.ts';
import { causeOfStartError } from './start-error.ts';
import type { TurnResult } from './turn-result.ts';

/** The ended process; `givenUp` if berth has killed it because of its output. */
export type Ended = Pick<CliChild<unknown>, 'end' | 'refused'> & { givenUp: boolean };

/** A result that may answer the prompt, or something else, or both. Its process is killed. */
export class UnclearResult extends BerthError {
  /** Only its cost counts. */
  readonly result: TurnResult;

  constructor(result: TurnResult) {
    super(
      'worker_lost',
      'cannot finish the turn: the CLI mixed the prompt with a turn without a prompt; its tools may have done their work, so check that before you continue the session',
    );
    this.result = result;
  }
}

/** For a request to a process that has ended. */
export function endedError(ended: Ended): BerthError {
  const { refused } = ended;
  return new BerthError(
    'cli_unavailable',
    refused === undefined
      ? `cannot use the CLI: it ${howItEnded(ended)}; try again`
      : `cannot start the CLI: ${causeOfStartError(refused)}`,
    { cause: refused, details: endDetails(ended) },
  );
}

/** For a turn in the middle of which the process has ended. */
export function lostError(ended: Ended): BerthError {
  return new BerthError(
    'worker_lost',
    `cannot finish the turn: the CLI ${howItEnded(ended)}; its tools may have done their work, so check that before you continue the session`,
    { details: endDetails(ended) },
  );
}

/** For a prompt that the CLI has taken out of its queue before it began. */
export function droppedError(): BerthError {
  return new BerthError('cli_unavailable', 'cannot run the prompt: the CLI dropped it; try again');
}

/** For a control request that the CLI has refused. */
export function refusedError(error: string): BerthError {
  return new BerthError(
    'cli_unavailable',
    `cannot control the CLI: it answered ${JSON.stringify(error)}; check its version`,
  );
}

function howItEnded({ end }: Ended): string {
  const { exitCode, signal, stderr } = end ?? { exitCode: null, signal: null, stderr: '' };
  const how = signal ? `was ended by ${signal}` : `ended with exit code ${exitCode}`;
  return stderr ? `${how} (${stderr})` : how;
}

function endDetails({ end, givenUp }: Ended): Record<string, unknown> {
  const { exitCode = null, signal = null } = end ?? {};
  return { exit_code: exitCode, signal, ...(givenUp ? { killed: true } : {}) };
}
