/**
 * Callers that send one request after the other, some on a new connection each time, some on
 * connections that they keep. Nothing is retried: each outcome is counted as it came.
 */
import { Agent, request } from 'node:http';

export interface HammerOptions {
  url: string;
  method: 'GET' | 'POST';
  headers: Record<string, string>;
  body?: string;
  /** Callers that open a connection for each request, and callers that keep theirs. */
  fresh: number;
  kept: number;
}

export interface Hammer {
  /** How often each outcome was seen: a status with its code, `503 draining`, or an error's code. */
  readonly outcomes: ReadonlyMap<string, number>;
  /** Resolves when all callers have ended. */
  readonly ended: Promise<void>;
  /** Ends all callers, each after its current request. */
  stop(): Promise<void>;
}

export function hammer(options: HammerOptions): Hammer {
  const outcomes = new Map<string, number>();
  const stopped = new AbortController();
  const agent = new Agent({ keepAlive: true });
  const call = async (own: Agent | false): Promise<void> => {
    while (!stopped.signal.aborted) {
      const outcome = await once(options, own);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      // Refused: nobody listens, which is told at once.
      if (outcome === 'ECONNREFUSED') return;
    }
  };
  const callers = [
    ...Array.from({ length: options.fresh }, () => call(false)),
    ...Array.from({ length: options.kept }, () => call(agent)),
  ];
  const ended = Promise.all(callers).then(() => agent.destroy());
  return {
    outcomes,
    ended,
    stop: () => {
      stopped.abort();
      return ended;
    },
  };
}

function once({ url, method, headers, body }: HammerOptions, agent: Agent | false) {
  return new Promise<string>((resolve) => {
    const sent = request(url, { method, headers, agent }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text += chunk;
      });
      answer.once('error', (error) => resolve(`answer cut: ${codeOf(error)}`));
      answer.once('end', () => {
        const code = /"code":"(\w+)"/.exec(text)?.[1];
        resolve(code === undefined ? String(answer.statusCode) : `${answer.statusCode} ${code}`);
      });
    });
    sent.once('error', (error) => resolve(codeOf(error)));
    sent.end(body);
  });
}

function codeOf(error: NodeJS.ErrnoException): string {
  return error.code ?? error.message;
}
