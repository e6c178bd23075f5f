/**
 * Generates the load for the pod of the picture: the work of a day within minutes. Callers send
 * prompts and follow-ups, some send invalid prompts, many arrive at once, a tool leaks, and the API
 * reports that the week is nearly used.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ObservedPod } from '../../test/support/observed-pod.ts';
import { sendPrompt } from '../../test/support/prompt.ts';

/** Milliseconds between two prompts of a kind. */
const second = 1_000;

export async function haveItWork(observed: ObservedPod, seconds: number): Promise<void> {
  const { pod, world, lines } = observed;
  const over = AbortSignal.timeout(seconds * second);
  const send = (prompt: string, more: Record<string, unknown> = {}) =>
    sendPrompt(pod.target, { prompt, ...more });
  /** Repeats an action until the time is over. */
  const each = async (pause: number, act: (turn: number) => Promise<unknown>): Promise<void> => {
    for (let turn = 0; !over.aborted; turn += 1) {
      await delay(pause, undefined, { signal: over }).catch(() => {});
      if (!over.aborted) await act(turn);
    }
  };
  const conversation = async (turn: number): Promise<void> => {
    const { body } = await send(
      `[[slow ${120 + 40 * (turn % 4)}]] [[big ${2_000 + 500 * (turn % 3)}]]`,
    );
    if (turn % 2 === 0 && body.session_id) {
      await send('[[slow 60]] [[say and again]]', { session_id: body.session_id });
    }
  };
  const leak = `[[tool mcp__leak-1__leak ${JSON.stringify({ rate: 40, most: 4_000 })}]] [[say carried on]]`;
  const errors = ['[[status 400 say it is not valid]]', '[[status 529]]', '[[hang stream]]'];
  const kill = async (): Promise<void> => {
    const busy = send('[[slow 800]] [[say after all]]');
    await delay(2 * second);
    await pod.kill('one worker');
    await busy;
  };
  await Promise.all([
    each(2 * second, conversation),
    each(6 * second, conversation),
    each(23 * second, (turn) => send(errors[turn % errors.length] ?? '', { timeout: '5s' })),
    each(45 * second, () =>
      Promise.all(Array.from({ length: 6 }, () => send('[[slow 250]] [[say one of many]]'))),
    ),
    each(50 * second, () => send(leak)),
    each(130 * second, kill),
    each(50 * second, () => fetch(`${pod.target.url}/v1/status`)),
    each(90 * second, async (turn) => {
      if (turn === 0) return void world.logIn();
      world.kubernetes.fault({ kind: 'status', status: 500, times: 1 });
      world.logIn();
    }),
    each(15 * second, (turn) => send(`[[headers ${nearlyUsed(turn)}]] [[say near]]`)),
  ]);
  if (lines.some(({ level }) => level === 'fatal')) throw new Error('berth has failed');
}

/** The API's report that much of a window is used, more with each turn. */
function nearlyUsed(turn: number): string {
  const prefix = 'anthropic-ratelimit-unified';
  const [claim, window] = turn % 2 === 0 ? ['seven_day', '7d'] : ['five_hour', '5h'];
  const reset = String(Math.floor(Date.now() / 1_000) + 3_600);
  const used = String(Math.min(0.97, (turn % 2 === 0 ? 0.8 : 0.76) + 0.006 * turn));
  return JSON.stringify({
    [`${prefix}-status`]: 'allowed_warning',
    [`${prefix}-reset`]: reset,
    [`${prefix}-representative-claim`]: claim,
    [`${prefix}-${window}-utilization`]: used,
    [`${prefix}-${window}-reset`]: reset,
    [`${prefix}-${window}-surpassed-threshold`]: '0.75',
  });
}
