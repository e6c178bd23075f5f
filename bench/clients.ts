/**
 * Measures the APIs for other clients beside `/v1/prompts`, with a stand-in for the CLI that answers in 0 ms: one
 * conversation for each API, whose next turn sends the whole history. All of them take turns.
 * `npm run bench:clients`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sendPrompt } from '../test/support/prompt.ts';
import { type Berth, expectAnswer, startBerth } from './berth.ts';
import { compete } from './compete.ts';
import { type Figure, quantile, report } from './report.ts';

const standIn = join(import.meta.dirname, '../test/support/fixtures/claude-that-answers.mjs');
const rounds = 300;
/** Turns of a conversation; its first turn is not measured. */
const longest = 20;
const model = 'berth';
const question = 'Say it.';

const settings = {
  BERTH_CLAUDE_PATH: standIn,
  BERTH_MAX_WORKERS: '8',
  BERTH_WARM_WORKERS: '0',
  BERTH_DRAIN: '0s',
  BERTH_LOG_LEVEL: 'info',
};

interface Said {
  role: string;
  content: string;
}

/** A conversation that sends its whole history each time. */
class History {
  readonly #berth: Berth;
  readonly #path: string;
  readonly #bodyOf: (history: readonly Said[]) => object;
  readonly #textOf: (answer: never) => string;
  #said: Said[] = [];
  #number = 0;
  /** The session that has answered the conversation so far. */
  #session: string | undefined;

  constructor(
    berth: Berth,
    path: string,
    bodyOf: (history: readonly Said[]) => object,
    textOf: (answer: never) => string,
  ) {
    this.#berth = berth;
    this.#path = path;
    this.#bodyOf = bodyOf;
    this.#textOf = textOf;
  }

  async turn(): Promise<void> {
    // Conversations with the same texts would be the same history.
    const content = `${question} ${this.#path} ${this.#number}`;
    const messages = [...this.#said, { role: 'user', content }];
    const response = await fetch(`${this.#berth.url}${this.#path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${this.#berth.token}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(this.#bodyOf(messages)),
    });
    const answer = (await response.json()) as { berth?: { session_id: string } };
    const session = answer.berth?.session_id;
    if (response.status !== 200 || session === undefined) {
      throw new Error(`${this.#path} answered ${response.status} ${JSON.stringify(answer)}`);
    }
    if (this.#session !== undefined && this.#session !== session) {
      throw new Error(`${this.#path} did not continue its session`);
    }
    this.#session = session;
    this.#said = [...messages, { role: 'assistant', content: this.#textOf(answer as never) }];
  }

  /** Begins a new conversation if this one is long; its first turn starts a process. */
  async ready(): Promise<void> {
    if (this.#said.length > 0 && this.#said.length < 2 * longest) return;
    this.#said = [];
    this.#session = undefined;
    this.#number += 1;
    await this.turn();
  }
}

const directory = mkdtempSync(join(tmpdir(), 'berth-bench-clients-'));

async function measure(): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const berth = await startBerth(join(directory, 'berth'), settings, cleanup);
  const first = await sendPrompt(berth, { prompt: question });
  expectAnswer(first);
  const { session_id } = first.body;
  const apis = {
    '/v1/messages': new History(
      berth,
      '/v1/messages',
      (messages) => ({ model, max_tokens: 100, messages }),
      ({ content }: { content: { text: string }[] }) => content[0]?.text ?? '',
    ),
    '/v1/chat/completions': new History(
      berth,
      '/v1/chat/completions',
      (messages) => ({ model, messages }),
      ({ choices }: { choices: { message: Said }[] }) => choices[0]?.message.content ?? '',
    ),
    '/v1/responses': new History(
      berth,
      '/v1/responses',
      (input) => ({ model, input }),
      ({ output }: { output: { content: { text: string }[] }[] }) =>
        output[0]?.content[0]?.text ?? '',
    ),
  };
  const times = await compete(
    [
      {
        name: '/v1/prompts',
        run: async () => expectAnswer(await sendPrompt(berth, { prompt: question, session_id })),
      },
      ...Object.entries(apis).map(([name, history]) => ({
        name,
        ready: () => history.ready(),
        run: () => history.turn(),
      })),
    ],
    rounds,
  );
  const at = (name: string): number => quantile(times.get(name) ?? [], 0.5);
  const prompts = at('/v1/prompts');
  return [
    { name: '/v1/prompts, p50', value: prompts, unit: 'ms' },
    ...Object.keys(apis).flatMap((name) => [
      { name: `${name}, p50`, value: at(name), unit: 'ms' },
      { name: `${name} - /v1/prompts`, value: at(name) - prompts, unit: 'ms', target: 5 },
    ]),
  ];
}

try {
  report('Clients of other APIs', await measure());
} finally {
  rmSync(directory, { recursive: true, force: true });
}
