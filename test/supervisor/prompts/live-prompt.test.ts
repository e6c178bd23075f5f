import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import {
  LivePrompt,
  type PromptState,
  promptTransitions,
} from '../../../supervisor/prompts/live-prompts.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';

const states = Object.keys(promptTransitions) as PromptState[];

/** The shortest way from acceptance to each state. */
const ways: Record<PromptState, PromptState[]> = {
  accepted: [],
  limited: ['limited'],
  queued: ['queued'],
  sent: ['queued', 'sent'],
  running: ['queued', 'sent', 'running'],
  recovering: ['queued', 'sent', 'recovering'],
  ended: ['ended'],
};

function livePrompt(state: PromptState = 'accepted'): LivePrompt {
  const live = new LivePrompt({} as Prompt);
  for (const each of ways[state]) live.become(each);
  return live;
}

const reason = (why: string) => new BerthError('interrupted', why);

t.test('a prompt changes its state along the table, and in no other way', async (t) => {
  for (const from of states) {
    for (const to of states) {
      const allowed: readonly PromptState[] = promptTransitions[from];
      const live = livePrompt(from);
      if (allowed.includes(to)) {
        live.become(to);
        t.equal(live.state, to, `${from} to ${to}`);
      } else {
        const refusal = {
          code: 'internal',
          message: new RegExp(`cannot make prompt_.* ${to}: it is ${from};`),
        };
        t.throws(() => live.become(to), refusal, `${from} to ${to}`);
        t.equal(live.state, from);
      }
    }
  }
});

t.test('every state but the first can be reached, and every prompt can end', async (t) => {
  const reached = new Set<PromptState>(states.flatMap((state) => promptTransitions[state]));
  t.same([...reached].sort(), states.filter((state) => state !== 'accepted').sort());
  for (const state of states.filter((state) => state !== 'ended')) {
    t.ok((promptTransitions[state] as readonly PromptState[]).includes('ended'), state);
  }
});

t.test(
  'a prompt has begun once the CLI reported its session, also after the worker was lost',
  async (t) => {
    const live = livePrompt('sent');
    t.equal(live.begun, false);
    live.become('running');
    t.equal(live.begun, true);
    live.become('recovering');
    live.become('queued');
    t.equal(live.begun, true);
  },
);

t.test('the first reason to interrupt a prompt stays', async (t) => {
  const live = livePrompt('queued');
  t.equal(live.signal.aborted, false);
  live.interrupt(reason('the first'));
  live.interrupt(reason('the second'));
  t.match(live.signal.reason, { message: 'the first' });
});

t.test('a prompt is over when it has ended, whether it was interrupted or not', async (t) => {
  for (const interrupted of [true, false]) {
    const live = livePrompt('running');
    let over = false;
    const waiting = live.over.then(() => {
      over = true;
    });
    if (interrupted) live.interrupt(reason('asked'));
    await Promise.resolve();
    t.equal(over, false);
    live.become('ended');
    await waiting;
    t.equal(over, true);
  }
});

t.test('each prompt has an id of its own', async (t) => {
  t.match(livePrompt().id, /^prompt_[0-9a-f-]{36}$/);
  t.not(livePrompt().id, livePrompt().id);
});
