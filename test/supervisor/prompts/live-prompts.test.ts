import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import type { Pool } from '../../../supervisor/pool/pool.ts';
import { builtInProfile, type Profile } from '../../../supervisor/profiles/profile.ts';
import { Admission } from '../../../supervisor/prompts/admission.ts';
import type { Answer } from '../../../supervisor/prompts/answer.ts';
import {
  CheckoutOfPrompt,
  type CheckoutOptions,
  type EarlierOptions,
  finishEarlier,
} from '../../../supervisor/prompts/checkout-of-prompt.ts';
import { type LivePrompt, LivePrompts } from '../../../supervisor/prompts/live-prompts.ts';
import { LiveSessions } from '../../../supervisor/prompts/live-sessions.ts';
import type { Pause } from '../../../supervisor/prompts/pause.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';
import type { SessionRecord } from '../../../supervisor/sessions/session-record.ts';
import type { SpendingLedger } from '../../../supervisor/spending/spending.ts';
import type { CheckoutNeed } from '../../../supervisor/workspaces/checkouts.ts';

const reason = new BerthError('draining', 'cannot finish the prompt: the server is stopping');

function accept(prompts: LivePrompts, { token = 'tests', tokenId = 'id-1' } = {}) {
  return prompts.accept({ token, tokenId } as Prompt);
}

t.test('a prompt is registered from its acceptance until it has ended', async (t) => {
  const prompts = new LivePrompts();
  const live = accept(prompts);
  t.equal(prompts.size, 1);
  t.equal(live.state, 'accepted');
  prompts.end(live);
  t.equal(prompts.size, 0);
  t.equal(live.state, 'ended');
});

t.test('the prompts that wait for a limit can be interrupted alone', async (t) => {
  const prompts = new LivePrompts();
  const [waits, runs] = [accept(prompts), accept(prompts)];
  waits.become('limited');
  runs.become('queued');
  prompts.interrupt(({ state }) => (state === 'limited' ? reason : undefined));
  t.equal(waits.signal.reason, reason);
  t.equal(runs.signal.aborted, false);
});

t.test('a checkout has the instructions that the profile allows when it is filled', async (t) => {
  const profile = (instructions: boolean) => ({ workspaces: { instructions } }) as Profile;
  const prompt = { profile: profile(true), workspace: { repo: 'me/app' } } as Prompt;
  const prepare = async (need: CheckoutNeed) => ({
    fill: async () => (need.instructions() ? 'instructions' : 'none'),
  });
  const options = {
    checkouts: { prepare },
    workspaces: {},
  } as unknown as CheckoutOptions;
  const checkout = await CheckoutOfPrompt.prepare(options, prompt, new AbortController().signal);
  prompt.profile = profile(false);
  t.equal(await checkout?.fill('/x', () => false), 'none');
});

t.test('an earlier turn is published only by the rules, and while no prompt works', async (t) => {
  const live = new LivePrompts();
  const record = { id: 's', profile: 'p', workspace: { repo: 'me/app' } } as SessionRecord;
  const steps: string[] = [];
  const { signal } = new AbortController();
  const options = {
    live,
    pool: {
      hold: () => {
        steps.push('hold');
        return () => steps.push('let go');
      },
    },
    checkouts: {
      end: async ({ refusal, ...turn }: { refusal?: BerthError; signal: AbortSignal }) => {
        t.equal(turn.signal, signal);
        steps.push(refusal?.code ?? 'published');
        return { state: record.workspace, outcome: {} };
      },
    },
    workspaces: { pathOf: () => '/directory' },
    store: { peek: () => undefined },
  } as unknown as EarlierOptions;
  const answer = { session_id: 's', result: '', warnings: [] as string[] } as Answer;
  const finish = async (repo: string) => {
    const rules = { publish: true, instructions: false, default: undefined, author: undefined };
    const workspaces = { ...rules, repos: [repo] };
    const profile = { ...builtInProfile(0), workspaces };
    await finishEarlier(options, record, profile, {}, answer, signal);
    return steps.splice(0);
  };
  t.strictSame(await finish('me/*'), ['hold', 'published', 'let go']);
  t.strictSame(await finish('other/*'), ['workspace_refused']);
  live.accept({ record, fork: true } as Prompt);
  t.strictSame(await finish('me/*'), ['hold', 'published', 'let go']);
  const works = live.accept({ record, fork: false } as Prompt);
  t.strictSame(await finish('me/*'), ['publish_failed']);
  live.end(works);
  await finishEarlier(options, record, undefined, {}, answer, signal);
  t.strictSame(steps, ['workspace_refused']);
});

t.test('a session is served by the prompt that has taken it last', async (t) => {
  const prompts = new LivePrompts();
  const first = accept(prompts);
  t.equal(prompts.of('one'), undefined);
  first.serve('one');
  first.serve('another');
  t.equal(prompts.of('one'), first);
  t.equal(prompts.of('another'), first);
  const next = accept(prompts);
  next.serve('one');
  t.equal(prompts.of('one'), next);
  prompts.end(first);
  t.equal(prompts.of('one'), next);
  t.equal(prompts.of('another'), undefined);
  prompts.end(next);
  t.equal(prompts.of('one'), undefined);
});

t.test('the registry is idle when the prompts of that moment have ended', async (t) => {
  const prompts = new LivePrompts();
  await prompts.idle(60_000);
  const live = accept(prompts);
  let idle = false;
  const waiting = prompts.idle(60_000).then(() => {
    idle = true;
  });
  accept(prompts);
  await new Promise(setImmediate);
  t.equal(idle, false);
  prompts.end(live);
  await waiting;
  t.equal(idle, true);
});

t.test('the wait for the prompts ends at its deadline, and when it is skipped', async (t) => {
  const prompts = new LivePrompts();
  accept(prompts);
  await prompts.idle(1);
  await prompts.idle(60_000, AbortSignal.abort());
  t.equal(prompts.size, 1);
});

function makeAdmission() {
  const live = new LivePrompts();
  const state = {
    ...{ paused: false, revoked: new Set<string>(), lost: false, broke: false },
    ...{ reserved: false, started: 0, whileCounting: () => {} },
    ...{ ignored: false, full: false, limited: false },
  };
  const pause = {
    get refusal() {
      return state.paused ? new BerthError('paused', 'cannot answer: paused') : undefined;
    },
  } as Pause;
  const ledger = {
    check: () => {
      if (state.broke) throw new BerthError('daily_budget_exceeded', 'cannot answer: budget');
    },
  } as unknown as SpendingLedger;
  const admission = new Admission({
    live,
    pause,
    ledger,
    budgetsOf: () => ({ profile: 'default', limits: {} as never }),
    quotaRefusal: () =>
      state.reserved ? new BerthError('quota_reserved', 'cannot send: reserved') : undefined,
    rate: {
      start: async () => {
        state.started += 1;
        state.whileCounting();
        return () => {
          state.started -= 1;
        };
      },
    },
    lostLogin: () => (state.lost ? new BerthError('login_required', 'cannot answer') : undefined),
    knowsToken: (id) => !state.revoked.has(id),
    settings: {
      assertInForce: () => {
        if (state.ignored) throw new BerthError('configuration_invalid', 'cannot run: ignored');
      },
    },
    disk: {
      assertRoom: async (begins) => {
        if (state.full && begins) throw new BerthError('disk_full', 'cannot begin: full');
      },
    },
    gate: {
      passRefusalOf: (login, { wait }) =>
        state.limited && !wait ? new BerthError('usage_limit', `limited: ${login}`) : undefined,
    },
    keyOf: ({ token }) => `login of ${token}`,
  });
  return { live, state, admission };
}

t.test('ignored settings, a full disk or a limit refuse a prompt before it counts', async (t) => {
  const { admission, state } = makeAdmission();
  const begins = { token: 'tests', profile: builtInProfile(0), timeout: 1_000 } as Prompt;
  const continues = { ...begins, record: {}, fork: false } as Prompt;
  const codes = async () => {
    const prompts = [begins, continues, { ...continues, fork: true }];
    const refusals = await Promise.all(prompts.map((each) => admission.startRefusalOf(each)));
    return refusals.map((refusal) => refusal?.code);
  };
  t.same(await codes(), [undefined, undefined, undefined]);
  state.full = true;
  t.same(await codes(), ['disk_full', undefined, 'disk_full']);
  state.limited = true;
  t.same(await codes(), ['disk_full', 'usage_limit', 'disk_full']);
  t.match(await admission.startRefusalOf(continues), { message: /login of tests/ });
  t.equal(await admission.startRefusalOf({ ...continues, onLimit: 'wait' }), undefined);
  state.ignored = true;
  t.same(await codes(), [
    'configuration_invalid',
    'configuration_invalid',
    'configuration_invalid',
  ]);
  t.equal(state.started, 0);
});

t.test('a prompt is not accepted while one of its conditions is not met', async (t) => {
  const { admission, state } = makeAdmission();
  const prompt = { token: 'tests', tokenId: 'id-1', profile: builtInProfile(0) } as Prompt;
  await admission.check(prompt);
  t.equal(state.started, 1);
  state.reserved = true;
  await t.rejects(admission.check(prompt), { code: 'quota_reserved' });
  t.throws(() => admission.checkQuota(prompt), { code: 'quota_reserved' });
  state.broke = true;
  await t.rejects(admission.check(prompt), { code: 'daily_budget_exceeded' });
  state.lost = true;
  await t.rejects(admission.check(prompt), { code: 'login_required' });
  state.paused = true;
  await t.rejects(admission.check(prompt), { code: 'paused' });
  state.revoked.add('id-1');
  await t.rejects(admission.check(prompt), { code: 'token_revoked', message: /token of tests/ });
  t.equal(state.started, 1, 'a refused prompt does not count as started');
});

t.test(
  'a prompt is not accepted if the server was paused while its start was counted',
  async (t) => {
    const { admission, state } = makeAdmission();
    state.whileCounting = () => {
      state.paused = true;
    };
    const prompt = { token: 'tests', profile: builtInProfile(0) } as Prompt;
    await t.rejects(admission.check(prompt), { code: 'paused' });
    t.equal(state.started, 0, 'its start is taken back');
  },
);

t.test('a pause interrupts all prompts, a revoked token its own', async (t) => {
  const { admission, live, state } = makeAdmission();
  const [one, two] = [accept(live), accept(live, { token: 'n8n', tokenId: 'id-2' })];
  admission.review();
  t.equal(one.signal.aborted || two.signal.aborted, false);
  state.revoked.add('id-2');
  admission.review();
  t.equal(one.signal.aborted, false);
  t.match(two.signal.reason, { code: 'token_revoked' });
  state.paused = true;
  admission.review();
  t.match(one.signal.reason, { code: 'paused' });
  t.match(two.signal.reason, { code: 'token_revoked' }, 'the first reason stays');
});

t.test('a lost login interrupts waiting prompts, and running prompts continue', async (t) => {
  const { admission, live, state } = makeAdmission();
  const [waits, runs] = [accept(live), accept(live)];
  for (const each of ['queued', 'sent', 'running'] as const) runs.become(each);
  state.lost = true;
  admission.review();
  t.match(waits.signal.reason, { code: 'login_required' });
  t.equal(runs.signal.aborted, false);
});

/** A pool that has one worker in that state for the session `one`. */
const poolWith = (state: string | undefined, ended: string[] = []) =>
  ({
    stateOf: (id: string) => (id === 'one' && ended.length === 0 ? state : undefined),
    endSession: async (id: string) => void ended.push(id),
  }) as unknown as Pool;

t.test('a session is busy while a prompt serves it, else as its worker is', async (t) => {
  const live = new LivePrompts();
  t.equal(new LiveSessions(live, poolWith(undefined)).stateOf('one'), 'stored');
  t.equal(new LiveSessions(live, poolWith('idle')).stateOf('one'), 'idle');
  t.equal(new LiveSessions(live, poolWith('starting')).stateOf('one'), 'busy');
  const prompt = accept(live);
  prompt.serve('one');
  t.equal(new LiveSessions(live, poolWith(undefined)).stateOf('one'), 'busy', 'without a worker');
});

t.test('a session is busy while a prompt waits to work there', async (t) => {
  const live = new LivePrompts();
  const waits = live.accept({ record: { id: 'one' } } as Prompt);
  waits.become('limited');
  const sessions = new LiveSessions(live, poolWith(undefined));
  t.equal(sessions.stateOf('one'), 'busy');
  live.end(waits);
  t.equal(sessions.stateOf('one'), 'stored');
});

t.test(
  'an interrupted session ends its prompt; without a prompt nothing is interrupted',
  async (t) => {
    const live = new LivePrompts();
    const sessions = new LiveSessions(live, poolWith('idle'));
    t.equal(sessions.interrupt('one', reason), false);
    const prompt = accept(live);
    prompt.serve('one');
    t.equal(sessions.interrupt('one', reason), true);
    t.equal(prompt.signal.reason, reason);
  },
);

t.test('the end of a session waits for the prompt that it has interrupted', async (t) => {
  const live = new LivePrompts();
  const ended: string[] = [];
  const sessions = new LiveSessions(live, poolWith('busy', ended));
  const prompt = accept(live);
  prompt.serve('one');
  let over = false;
  const ending = sessions.endSession('one', reason).then(() => {
    over = true;
  });
  await new Promise(setImmediate);
  t.equal(prompt.signal.reason, reason);
  t.equal(over, false);
  live.end(prompt);
  await ending;
  t.same(ended, ['one']);
});

t.test('the end of a session ends the prompts that wait to work there, and no fork', async (t) => {
  const live = new LivePrompts();
  const prompts = [false, false, true].map((fork) =>
    live.accept({ record: { id: 'one' }, fork } as Prompt),
  );
  const [waits, limited, fork] = prompts as [LivePrompt, LivePrompt, LivePrompt];
  limited.become('limited');
  const ending = new LiveSessions(live, poolWith(undefined)).endSession('one', reason);
  t.equal(waits.signal.reason, reason);
  t.equal(limited.signal.reason, reason);
  t.equal(fork.signal.aborted, false);
  for (const each of [waits, limited]) live.end(each);
  await ending;
});

t.test('the end of a session waits for a busy worker without a prompt', async (t) => {
  let state: string | undefined = 'busy';
  let rounds = 0;
  const pool = {
    stateOf: () => state,
    endSession: async () => {
      rounds += 1;
      if (rounds > 1_000) throw new Error('the loop leaves no time for timers');
    },
  } as unknown as Pool;
  setTimeout(() => {
    state = undefined;
  }, 20);
  await new LiveSessions(new LivePrompts(), pool).endSession('one', reason);
  t.ok(rounds < 5);
});
