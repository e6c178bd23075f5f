/**
 * One turn on one worker: the prompt goes in, events come out as they happen, and it ends with a
 * result. Always holds: when the signal aborts the CLI is told to interrupt, and its result is
 * waited for, bounded; so the caller knows whether the worker can go on.
 */
import type { CliMessage, TurnResult } from '../claude/protocol.ts';
import type { Worker } from '../pool/worker.ts';

/** What the caller can be told while the turn runs. */
export type TurnEvent =
  | { event: 'queued'; data: { position: number } }
  | { event: 'session'; data: { session_id: string; model: string; skills: string[] } }
  | { event: 'text'; data: { text: string } }
  | { event: 'tool'; data: { id: string; name: string; input: unknown } }
  | {
      event: 'retry';
      data: { attempt: number; max_retries: number; delay_ms: number; status: number | null };
    };

export interface TurnEnd {
  result: TurnResult;
  /** What the CLI itself called a failure: `authentication_failed`, `rate_limit` ... */
  failure: string | undefined;
}

/** Milliseconds in which an interrupted turn must give its result. */
const interruptGrace = 5_000;

/**
 * @returns the turn's end, also of an interrupted one
 * @throws the signal's reason if it was aborted before the turn began, or if the interrupted turn
 *   does not end; BerthError `cli_unavailable` if the process ends first
 */
export async function runTurn(
  worker: Worker,
  text: string,
  signal: AbortSignal,
  tell: (event: TurnEvent) => void,
): Promise<TurnEnd> {
  signal.throwIfAborted();
  let failure: string | undefined;
  const { promise: overdue, reject } = Promise.withResolvers<never>();
  let timer: NodeJS.Timeout | undefined;
  const interrupt = (): void => {
    timer = setTimeout(() => reject(signal.reason), interruptGrace);
    // A process that ends instead rejects the turn itself.
    worker.process.interrupt().catch(() => undefined);
  };
  signal.addEventListener('abort', interrupt, { once: true });
  const turn = worker.process.run(text, (message) => {
    if (message.kind === 'failure') failure = message.error;
    for (const event of eventsOf(message)) tell(event);
  });
  try {
    return { result: await Promise.race([turn, overdue]), failure };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', interrupt);
  }
}

function eventsOf(message: CliMessage): TurnEvent[] {
  switch (message.kind) {
    case 'session': {
      const { sessionId, model, skills } = message;
      return [{ event: 'session', data: { session_id: sessionId, model, skills } }];
    }
    case 'text':
      return [{ event: 'text', data: { text: message.text } }];
    case 'tools':
      return message.tools.map((data) => ({ event: 'tool', data }));
    case 'retry': {
      const { attempt, maxRetries, delayMs, status } = message;
      return [
        { event: 'retry', data: { attempt, max_retries: maxRetries, delay_ms: delayMs, status } },
      ];
    }
    default:
      return [];
  }
}
