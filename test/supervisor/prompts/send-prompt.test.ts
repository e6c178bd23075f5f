import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { UnclearResult } from '../../../supervisor/claude/process-errors.ts';
import type { CliMessage } from '../../../supervisor/claude/protocol.ts';
import type { TurnResult } from '../../../supervisor/claude/turn-result.ts';
import type { Worker } from '../../../supervisor/pool/worker.ts';
import { LivePrompts } from '../../../supervisor/prompts/live-prompts.ts';
import {
  PromptCost,
  type PromptCostOptions,
  Rates,
} from '../../../supervisor/prompts/prompt-cost.ts';
import {
  type SendOptions,
  type SendRequest,
  sendPrompt,
} from '../../../supervisor/prompts/send-prompt.ts';
import { noUsage } from '../../../supervisor/sessions/session-record.ts';

t.jobs = 4;

const reason = new BerthError('interrupted', 'cannot answer the prompt: it was interrupted');
const result = { usage: noUsage, costUsd: 0.1, costSeen: true, numTurns: 1 } as TurnResult;
const call = { kind: 'usage', begins: true, usage: { ...noUsage, input_tokens: 7 } } as CliMessage;

/** A turn that is interrupted after one call of the model, and what is counted of it. */
async function interrupted(answer: (turn: PromiseWithResolvers<TurnResult>) => void) {
  const turn = Promise.withResolvers<TurnResult>();
  const live = new LivePrompts().accept({ text: 'x', profile: { commands: [] } } as never);
  const process = {
    ...{
      alive: true,
      idle: false,
      stderr: '',
      ownCommands: new Set(),
      timeouts: {},
      lastOutput: 0,
    },
    interrupt: async () => answer(turn),
    run: (_: unknown, onMessage: (message: CliMessage) => void) => {
      onMessage(call);
      setImmediate(() => live.interrupt(reason));
      return turn.promise;
    },
  };
  const spent: unknown[] = [];
  const noted: unknown[] = [];
  const cost = new PromptCost(
    {
      rates: new Rates(),
      store: { spend: (_: string, costUsd: number) => noted.push(costUsd) },
      meters: {
        spent: (_: unknown, { costUsd, usage }: TurnResult) => spent.push([costUsd, usage]),
      },
    } as unknown as PromptCostOptions,
    live.prompt,
  );
  const options = {
    limitHeard: () => {},
    logins: { keyOf: () => 'login' },
    hang: { bound: 60_000, cpuOf: async () => 0 },
    settings: { check: async () => {} },
  } as unknown as SendOptions;
  const sent = sendPrompt(options, {
    ...{
      live,
      worker: { process } as unknown as Worker,
      place: { path: '/nowhere', isCheckout: false },
      use: undefined,
      pass: { answered: () => {}, replaced: new AbortController().signal },
      text: 'x',
    },
    emit: () => {},
    beforeSend: async () => {},
    onUnanswered: (used: Parameters<SendRequest['onUnanswered']>[0]) => cost.lost(used),
  });
  const thrown = await sent.then(
    () => undefined,
    (error: unknown) => error,
  );
  cost.record('one');
  return { thrown, spent, noted, turn };
}

t.test('a turn that ends long after its interrupt is counted once, with its cost', async (t) => {
  const { thrown, spent, noted, turn } = await interrupted(() => {});
  t.equal(thrown, reason);
  t.strictSame(spent, []);
  turn.resolve(result);
  await turn.promise;
  await new Promise(setImmediate);
  t.strictSame(spent, [[0.1, noUsage]]);
  t.strictSame(noted, [0.1]);
});

t.test('an interrupted turn whose process ends is counted by its calls', async (t) => {
  const { spent, noted } = await interrupted(({ reject }) =>
    reject(new BerthError('worker_lost', 'x')),
  );
  t.match(spent, [[0, { input_tokens: 7 }]]);
  t.equal(noted.length, 1);
});

t.test('the cost of an unclear result counts after an interrupt too', async (t) => {
  const { spent } = await interrupted(({ reject }) => reject(new UnclearResult(result)));
  t.strictSame(spent, [[0.1, noUsage]]);
});
