import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import type { ProcessSpec } from '../../../supervisor/pool/process-spec.ts';
import type { Worker } from '../../../supervisor/pool/worker.ts';
import { LivePrompts } from '../../../supervisor/prompts/live-prompts.ts';
import { TurnLost } from '../../../supervisor/prompts/lost-turn.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';
import { CallsMade, PromptCost, Rates } from '../../../supervisor/prompts/prompt-cost.ts';
import { Recovery } from '../../../supervisor/prompts/recovery.ts';
import { carryOn } from '../../../supervisor/prompts/resume-prompt.ts';
import type { TurnEvent } from '../../../supervisor/prompts/turn.ts';
import type { RecordKeeper } from '../../../supervisor/sessions/record-keeper.ts';
import { noUsage } from '../../../supervisor/sessions/session-record.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';

const promptId = '2c2cb698-7ecd-4e05-8c2d-000000000001';

interface Case {
  /** The record of the session that the prompt continues. */
  record?: { id: string };
  onRecycle?: 'continue' | 'fail';
  sessionId?: string;
  transcript?: string;
  gone?: Promise<void>;
  /** How often the transcript cannot be read. */
  unreadable?: number;
  patience?: number;
  /** The ids of the texts that the lost process was sent. */
  sent?: string[];
}

/** A turn that was lost after one call of the model, and all that its recovery does. */
function lose(t: Test, { onRecycle = 'continue', sent = [promptId], ...more }: Case) {
  const { record, patience, sessionId, transcript, gone } = more;
  let { unreadable = 0 } = more;
  const done: unknown[] = [];
  const prompt = {
    text: 'the prompt',
    ...{ record, onRecycle, fork: false },
    profile: { name: 'default', limits: { maxTurns: 5 } },
    overrides: {},
  } as unknown as Prompt;
  const live = new LivePrompts().accept(prompt);
  for (const state of ['queued', 'sent'] as const) live.become(state);
  const meters = {
    spent: (_: Prompt, { usage }: { usage: unknown }) => done.push(['spent', usage]),
    lost: (reason: string, carriedOn: boolean) => done.push(['lost', reason, carriedOn]),
    costUnseen: () => {},
    unkept: () => {},
    approvalEnded: () => {},
  };
  const { log } = captureLog();
  const cost = new PromptCost(
    { rates: new Rates(), store: { spend: () => {} }, meters, log },
    prompt,
  );
  const keeper = {
    forget: async (id: string) => void done.push(['forget', id]),
  } as unknown as RecordKeeper;
  const path = testDirectory(t, transcript === undefined ? {} : { 'session.jsonl': transcript });
  const options = {
    specs: {
      of: ({ overrides }: Prompt, resume?: string) =>
        ({ overrides, resume }) as never as ProcessSpec,
    },
    transcripts: {
      locate: async () => {
        unreadable -= 1;
        if (unreadable >= 0) throw Object.assign(new Error('input/output error'), { code: 'EIO' });
        return transcript === undefined ? undefined : join(path, 'session.jsonl');
      },
    },
    catalog: { discard: async (id: string) => void done.push(['discard', id]) },
    ...{ meters, log },
    ...(patience === undefined ? {} : { patience }),
  };
  const worker = {
    ...{ name: 'worker-1', sessionId, recycledFor: 'memory' },
    gone: gone ?? Promise.resolve(),
  } as unknown as Worker;
  const calls = new CallsMade();
  calls.note({ ...noUsage, input_tokens: 7 }, true);
  const error = new BerthError('worker_lost', 'cannot finish the turn: its process was killed');
  const lost = new TurnLost(worker, sent, calls, 'memory', error);
  const events: TurnEvent[] = [];
  const recovery = new Recovery(options, live, cost, keeper);
  return {
    ...{ recovery, live, lost, worker, done, events, error },
    again: new TurnLost(worker, ['the id of a text that was not written'], calls, 'memory', error),
    next: () => recovery.next(lost, (event) => events.push(event)),
  };
}

const withPrompt = `{"type":"user","uuid":"${promptId}"}\n`;

t.test('a turn whose transcript has the prompt is carried on in its session', async (t) => {
  const { next, done, events, live } = lose(t, { sessionId: 'one', transcript: withPrompt });
  t.match(await next(), { text: carryOn, continues: true, spec: { resume: 'one' } });
  t.strictSame(done, [
    ['lost', 'memory', true],
    ['spent', { ...noUsage, input_tokens: 7 }],
  ]);
  t.strictSame(events, [{ event: 'recycled', data: { reason: 'memory', session_id: 'one' } }]);
  t.match(live, { recycled: 1, recycleReason: 'memory', state: 'recovering' });
});

t.test('the rest of the turn may call the model as often as is left', async (t) => {
  const { next } = lose(t, { sessionId: 'one', transcript: withPrompt });
  t.match(await next(), { spec: { overrides: { maxTurns: 4 } } });
});

t.test('a session that began with the turn and has no prompt is removed', async (t) => {
  const { next, done, worker } = lose(t, { sessionId: 'one', transcript: '{"type":"mode"}\n' });
  t.match(await next(), { text: 'the prompt', continues: false, spec: { resume: undefined } });
  t.strictSame(done.slice(2), [
    ['forget', 'one'],
    ['discard', 'one'],
  ]);
  t.equal(worker.sessionId, undefined);
});

t.test('an earlier session without the prompt stays, and the prompt is sent again', async (t) => {
  const { next, done, worker } = lose(t, { record: { id: 'one' }, sessionId: 'one' });
  t.match(await next(), { text: 'the prompt', continues: false });
  t.equal(done.length, 2);
  t.equal(worker.sessionId, 'one');
});

t.test('a worker that was lost before it reported a session leaves nothing behind', async (t) => {
  const { next, done, events } = lose(t, {});
  t.match(await next(), { text: 'the prompt', spec: { resume: undefined } });
  t.equal(done.length, 2);
  t.match(events, [{ data: { session_id: null } }]);
});

t.test('nothing is tried before the processes of the lost worker have ended', async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { next, live } = lose(t, { sessionId: 'one', transcript: withPrompt, gone: promise });
  let over = false;
  const attempt = next().finally(() => {
    over = true;
  });
  while (live.state !== 'recovering') await new Promise(setImmediate);
  t.equal(over, false);
  resolve();
  await attempt;
});

t.test('an interrupt ends the wait for the lost worker', async (t) => {
  const { next, live } = lose(t, { gone: new Promise(() => {}) });
  const reason = new BerthError('interrupted', 'cannot answer the prompt: it was interrupted');
  const attempt = next();
  live.interrupt(reason);
  await t.rejects(attempt, reason);
});

t.test('a prompt that opted out of the continuation gets worker_recycled', async (t) => {
  const { recovery, lost, done } = lose(t, { onRecycle: 'fail', sessionId: 'one' });
  t.match(await recovery.giveUp(lost), { code: 'worker_recycled' });
  t.strictSame(done[0], ['lost', 'memory', false]);
});

t.test('a prompt whose second worker was lost too gets the error of the loss', async (t) => {
  const { recovery, lost, error } = lose(t, { sessionId: 'one', transcript: withPrompt });
  t.equal(await recovery.giveUp(lost), error);
});

t.test('a second loss removes no session that had the prompt at the first one', async (t) => {
  const { recovery, again, live, next, done } = lose(t, {
    ...{ sessionId: 'one', transcript: withPrompt },
  });
  await next();
  for (const state of ['queued', 'sent'] as const) live.become(state);
  await recovery.giveUp(again);
  t.notOk(done.find((each) => (each as string[])[0] === 'discard'));
});

t.test('a turn that was lost after a renewed login is carried on in its session', async (t) => {
  const sent = [promptId, 'the id of a text that was not written'];
  const { next, done } = lose(t, { sessionId: 'one', transcript: withPrompt, sent });
  t.match(await next(), { text: carryOn, spec: { resume: 'one' } });
  t.notOk(done.find((each) => (each as string[])[0] === 'discard'));
});

t.test('a transcript that cannot be read for a moment is read again', async (t) => {
  const { next, done } = lose(t, { sessionId: 'one', transcript: withPrompt, unreadable: 1 });
  t.match(await next(), { text: carryOn });
  t.equal(done.length, 2);
});

t.test(
  'a session whose transcript cannot be read stays, and its prompt is not sent again',
  async (t) => {
    const unread = { sessionId: 'one', unreadable: Infinity, patience: 0 };
    const first = lose(t, unread);
    await t.rejects(first.next(), { code: 'volume_unwritable', details: { session_id: 'one' } });
    const second = lose(t, unread);
    t.equal(await second.recovery.giveUp(second.lost), second.error);
    for (const { done, worker } of [first, second]) {
      t.equal(done.length, 2, 'nothing is removed');
      t.equal(worker.sessionId, 'one');
    }
  },
);
