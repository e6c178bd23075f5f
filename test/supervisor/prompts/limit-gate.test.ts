import fc from 'fast-check';
import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import type { UsageLimit } from '../../../supervisor/claude/usage-limit.ts';
import type { AccountState } from '../../../supervisor/prompts/limit-account.ts';
import { LimitGate, type Pass } from '../../../supervisor/prompts/limit-gate.ts';

const start = Date.parse('2026-01-01T00:00:00Z');
const minute = 60_000;
const iso = (time: number) => new Date(time).toISOString();

const limit = (more: Partial<UsageLimit> = {}): UsageLimit => ({
  status: 'rejected',
  type: 'five_hour',
  resetsAt: start + 10 * minute,
  utilization: undefined,
  usingOverage: false,
  windows: {},
  ...more,
});
const hit = (details: Record<string, unknown> = {}) =>
  new BerthError('usage_limit', 'x', { details });
const tooFast = (retry_after?: number) =>
  new BerthError('rate_limited', 'x', { details: retry_after ? { retry_after } : {} });
const other = new BerthError('overloaded', 'x');

/** A gate with a clock of its own: sleeping prompts wake when the clock has passed their time. */
function makeGate(random: () => number = () => 0.5) {
  let now = start;
  const sleeping: { at: number; wake: () => void }[] = [];
  const changes: AccountState[] = [];
  const gate = new LimitGate({
    now: () => now,
    random,
    onChange: (state) => changes.push(state),
    sleep: (milliseconds, signal) =>
      new Promise((resolve, reject) => {
        sleeping.push({ at: now + milliseconds, wake: () => resolve(undefined) });
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      }),
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    gate,
    changes,
    sleeping,
    now: () => now,
    advance: async (milliseconds: number) => {
      now += milliseconds;
      for (const one of sleeping.splice(0)) {
        if (one.at <= now) one.wake();
        else sleeping.push(one);
      }
      await settle();
    },
    /** A pass whose prompt still waits for a worker. */
    admit: () =>
      gate.pass('a', { wait: false, deadline: now, signal: new AbortController().signal }),
    /** The pass of a prompt that has its worker at once. */
    pass: async (
      wait = false,
      within = 60 * minute,
      signal = new AbortController().signal,
      login = 'a',
    ) => {
      const pass = await gate.pass(login, { wait, deadline: now + within, signal });
      pass.check();
      return pass;
    },
  };
}

t.test('an open gate lets all prompts pass, whatever other errors occur', async (t) => {
  const { pass, changes } = makeGate();
  const passes = await Promise.all([pass(), pass(), pass()]);
  for (const one of passes) one.done(other);
  (await pass()).done(undefined);
  t.same(changes, []);
});

t.test(
  'after the limit nothing is sent until the reset, and every prompt hears when',
  async (t) => {
    const { gate, pass, advance, changes } = makeGate();
    const first = await pass();
    gate.heard('a', limit());
    first.done(hit({ resets_at: iso(start + 10 * minute), retry_after: 600 }));
    await t.rejects(pass(), {
      code: 'usage_limit',
      message: /usage limit is reached, and it ends at 2026-01-01T00:10:00/,
      details: { resets_at: '2026-01-01T00:10:00.000Z', retry_after: 600 },
    });
    await advance(10 * minute - 1);
    await t.rejects(pass(), { code: 'usage_limit', details: { retry_after: 1 } });
    await advance(1);
    await Promise.all([pass(), pass()]);
    t.match(changes, [
      {
        closed: true,
        reason: 'usage_limit',
        resets_at: '2026-01-01T00:10:00.000Z',
        guessed: false,
      },
      { closed: false, reason: null, resets_at: null },
    ]);
    t.equal(changes.length, 2);
  },
);

t.test('a prompt that was let in and waits for a worker hears of the limit', async (t) => {
  const { pass, advance } = makeGate();
  const [waiting, running] = (await Promise.all([pass(), pass()])) as [Pass, Pass];
  waiting.check();
  running.done(hit());
  t.throws(() => waiting.check(), { code: 'usage_limit', details: { retry_after: 60 } });
  waiting.done(undefined);
  await advance(minute);
  (await pass()).check();
});

t.test('a prompt that waits for a worker keeps no other prompt from trying', async (t) => {
  const { pass, admit, advance, gate } = makeGate();
  (await pass()).done(tooFast());
  await advance(minute);
  const waiting = await admit();
  const other = await admit();
  other.check();
  await t.rejects(pass(), { code: 'rate_limited' }, 'one prompt tries');
  t.throws(() => waiting.check(), { code: 'rate_limited', details: { retry_after: 5 } });
  other.done(undefined);
  t.match(gate.states, [{ closed: false }]);
  waiting.check();
  await Promise.all([pass(), pass()]);
});

t.test('a prompt that has passed an open gate may be the one that tries', async (t) => {
  const { pass, admit, advance, gate } = makeGate();
  const waiting = await admit();
  (await pass()).done(hit());
  await advance(minute);
  waiting.check();
  await t.rejects(pass(), { code: 'usage_limit' }, 'one prompt tries');
  waiting.withdraw();
  const next = await admit();
  next.check();
  waiting.withdraw();
  await t.rejects(pass(), { code: 'usage_limit' }, 'a pass is withdrawn once');
  next.done(undefined);
  t.match(gate.states, [{ closed: false }]);
});

t.test('a prompt hears beforehand whether it would be refused', async (t) => {
  const { gate, pass, advance, now } = makeGate();
  const refusal = (wait: boolean, within = minute) =>
    gate.passRefusalOf('a', { wait, deadline: now() + within })?.code;
  t.equal(refusal(false), undefined, 'no prompt was sent yet');
  (await pass()).done(tooFast());
  t.equal(refusal(false), 'rate_limited');
  t.equal(refusal(true), undefined);
  t.equal(refusal(true, 1_000), 'rate_limited', 'the gate opens after its deadline');
  await advance(15_000);
  t.equal(refusal(false), undefined, 'it may try');
  const probe = await pass();
  t.equal(refusal(false), 'rate_limited');
  probe.done(undefined);
  t.equal(refusal(false), undefined);
});

t.test('each login has its own gate', async (t) => {
  const { gate, pass } = makeGate();
  gate.heard('a', limit());
  await t.rejects(pass());
  await pass(false, minute, undefined, 'b');
});

t.test('a prompt that may wait does, if the reset is before its deadline', async (t) => {
  const { gate, pass, advance } = makeGate();
  gate.heard('a', limit());
  await t.rejects(pass(true, 9 * minute), { code: 'usage_limit' });
  let through = false;
  const waiting = pass(true, 11 * minute).then(() => {
    through = true;
  });
  await advance(10 * minute - 1);
  t.equal(through, false);
  await advance(minute);
  await waiting;
  t.equal(through, true);
});

t.test('waiting prompts wake at different times, all before their deadline', async (t) => {
  const chance = Array.from({ length: 11 }, (_, index) => index / 11);
  const { gate, pass, sleeping } = makeGate(() => chance.pop() ?? 0);
  gate.heard('a', limit());
  for (let prompt = 0; prompt < 10; prompt++) void pass(true);
  void pass(true, 10 * minute + 2);
  const times = sleeping.map(({ at }) => at);
  t.equal(new Set(times.slice(0, 10)).size, 10);
  t.ok(times.every((at) => at >= start + 10 * minute && at <= start + 10 * minute + 30_000));
  t.ok((times[10] ?? 0) < start + 10 * minute + 2);
});

t.test('a waiting prompt ends with its abort signal', async (t) => {
  const { gate, pass } = makeGate();
  gate.heard('a', limit());
  const leaving = new AbortController();
  const waiting = pass(true, 60 * minute, leaving.signal);
  leaving.abort(new BerthError('interrupted', 'gone'));
  await t.rejects(waiting, { code: 'interrupted' });
});

t.test('with an unknown end, one prompt at a time tries, at growing intervals', async (t) => {
  const { pass, advance, gate } = makeGate();
  (await pass()).done(hit());
  await t.rejects(pass(), { message: /its end is unknown/, details: { retry_after: 60 } });
  t.match(gate.states, [{ closed: true, guessed: true }]);
  let expected = minute;
  for (let round = 0; round < 8; round++) {
    await advance(expected - 1);
    await t.rejects(pass());
    await advance(1);
    const probe = await pass();
    await t.rejects(pass(), { code: 'usage_limit', details: { retry_after: 5 } });
    probe.done(hit());
    expected = Math.min(30 * minute, expected * 2);
  }
  await advance(expected);
  const failed = await pass();
  failed.done(other);
  const probe = await pass();
  probe.done(undefined);
  await Promise.all([pass(), pass()]);
  t.match(gate.states, [{ closed: false, reason: null }]);
});

t.test('the first answer in the turn of the one that tries opens the gate', async (t) => {
  const { pass, advance, gate } = makeGate();
  (await pass()).done(hit({ resets_at: undefined }));
  await advance(minute);
  const probe = await pass();
  await t.rejects(pass(), { code: 'usage_limit' });
  probe.answered();
  await advance(1);
  const next = await pass();
  t.match(gate.states, [{ closed: false }]);
  next.done(hit({ resets_at: undefined }));
  await advance(minute);
  const again = await pass();
  probe.done(undefined);
  await t.rejects(pass(), { code: 'usage_limit' }, 'the turn from before ends no later trial');
  again.done(undefined);
  await pass();
});

t.test('a prompt tries soon after an end that passed while the answer came', async (t) => {
  const { pass, advance, gate } = makeGate();
  (await pass()).done(hit({ resets_at: iso(start - 1_000) }));
  await t.rejects(pass(), { message: /its end is unknown/, details: { retry_after: 2 } });
  await advance(2_000);
  (await pass()).done(hit({ resets_at: iso(start - 1_000) }));
  await t.rejects(pass(), { code: 'usage_limit', details: { retry_after: 4 } });
  await advance(4_000);
  (await pass()).done(undefined);
  t.match(gate.states, [{ closed: false }]);
});

t.test('a waiting prompt passes after the trial prompt succeeds', async (t) => {
  const { pass, advance } = makeGate(() => 0);
  (await pass()).done(hit());
  await advance(minute);
  const probe = await pass();
  const waiting = pass(true);
  await advance(5_000);
  probe.done(undefined);
  await advance(5_000);
  await t.resolves(waiting);
});

t.test(
  'a rate limit closes the gate for its given time and does not hide a longer limit',
  async (t) => {
    const { gate, pass, advance } = makeGate();
    const [one, two, three] = (await Promise.all([pass(), pass(), pass()])) as [Pass, Pass, Pass];
    one.done(tooFast(20));
    await t.rejects(pass(), { code: 'rate_limited', details: { retry_after: 20 } });
    two.done(hit({ resets_at: iso(start + 10 * minute) }));
    three.done(tooFast());
    await t.rejects(pass(), { code: 'usage_limit', details: { retry_after: 600 } });
    await advance(10 * minute);
    (await pass()).done(tooFast());
    await t.rejects(pass(), { code: 'rate_limited', details: { retry_after: 15 } });
    t.match(gate.states, [{ reason: 'rate_limited', guessed: true }]);
  },
);

t.test('an answer that was on its way before opens nothing', async (t) => {
  const { pass, advance } = makeGate();
  const [early, late] = (await Promise.all([pass(), pass()])) as [Pass, Pass];
  await advance(1);
  late.done(hit());
  await advance(minute);
  early.done(undefined);
  const probe = await pass();
  await t.rejects(pass(), 'still one at a time');
  probe.done(undefined);
  probe.done(hit());
  await pass();
});

t.test('a limit of one model or a limit with paid overage does not close the gate', async (t) => {
  const { gate, pass } = makeGate();
  gate.heard('a', limit({ type: 'seven_day_opus' }));
  gate.heard('a', limit({ usingOverage: true }));
  gate.heard('a', limit({ status: 'allowed' }));
  (await pass()).done(hit({ model_only: true, resets_at: iso(start + minute) }));
  await t.resolves(pass());
});

t.test('a limit that is nearly reached is a warning until it resets', async (t) => {
  const { gate, advance } = makeGate();
  const windows = { seven_day: { utilization: 0.92, resetsAt: start + 10 * minute } };
  const near = { status: 'allowed_warning', type: 'seven_day', utilization: 0.92, windows };
  gate.heard('a', limit(near));
  t.match(gate.states, [
    {
      closed: false,
      utilization: { seven_day: 0.92 },
      window_resets_at: { seven_day: '2026-01-01T00:10:00.000Z' },
      warnings: [
        "92 % of the account's seven day usage limit is used; it resets at 2026-01-01T00:10:00.000Z",
      ],
    },
  ]);
  await advance(10 * minute);
  t.same(gate.states[0]?.warnings, []);
  t.same(gate.states[0]?.utilization, {});
});

t.test('invalid values from a peer do not close the gate forever', async (t) => {
  const { gate, pass } = makeGate();
  gate.heard('a', limit({ resetsAt: start + 1e15 }));
  gate.heard('b', limit({ windows: { five_hour: { utilization: 1, resetsAt: 1e300 } } }));
  t.same(gate.states[1]?.window_resets_at, {});
  t.ok(Date.parse(gate.states[0]?.resets_at ?? '') <= start + 8 * 24 * 60 * minute);
  gate.forget('a');
  (await pass()).done(hit({ resets_at: 'yesterday' }));
  await t.rejects(pass(), { code: 'usage_limit', details: { retry_after: 60 } });
});

t.test('another login opens the gate', async (t) => {
  const { gate, pass, changes } = makeGate();
  gate.forget('never seen');
  gate.heard('a', limit());
  gate.forget('a');
  await pass();
  t.match(changes.at(-1), { closed: false });
});

t.test('another login lets a waiting prompt pass at once', async (t) => {
  const { gate, pass, now } = makeGate();
  gate.heard('a', limit({ resetsAt: start + 50 * minute }));
  const waiting = pass(true);
  gate.forget('a');
  const passed = await waiting;
  t.equal(now(), start, 'no time has passed');
  passed.done(undefined);
  t.match(gate.states, [{ closed: false }]);
});

t.test('a late answer of the account before does not close the gate of the new one', async (t) => {
  const { gate, pass } = makeGate();
  const days = start + 5 * 24 * 60 * minute;
  const before = await pass();
  gate.forget('a');
  t.equal(gate.heard('a', limit({ resetsAt: days }), before.replaced), false);
  before.done(hit({ resets_at: iso(days) }));
  t.match(gate.states, [{ closed: false, utilization: {} }]);
  const after = await pass();
  t.equal(gate.heard('a', limit(), after.replaced), true);
  t.match(gate.states, [{ closed: true, resets_at: iso(start + 10 * minute) }]);
});

t.test('a login is known to be replaced also if nothing was heard of it before', async (t) => {
  const { gate } = makeGate();
  const replaced = gate.replacementSignal('a');
  t.same(gate.states, []);
  gate.forget('a');
  t.equal(gate.heard('a', limit(), replaced), false);
  t.same(gate.states, []);
});

t.test('a trial with the account before ends no trial with the new one', async (t) => {
  const { gate, pass, advance } = makeGate();
  (await pass()).done(hit());
  await advance(minute);
  const before = await pass();
  gate.forget('a');
  (await pass()).done(hit());
  await advance(minute);
  const after = await pass();
  before.answered();
  before.withdraw();
  await t.rejects(pass(), { code: 'usage_limit' }, 'one prompt tries');
  after.done(undefined);
  t.match(gate.states, [{ closed: false }]);
});

t.test('a clock that is set back makes no guess longer', async (t) => {
  const { gate, pass, advance } = makeGate();
  (await pass()).done(tooFast());
  await advance(-3 * 24 * 60 * minute);
  t.match(gate.states, [{ closed: true, guessed: true }]);
  await t.rejects(pass(), { code: 'rate_limited' });
  await advance(minute);
  (await pass()).done(undefined);
  t.match(gate.states, [{ closed: false }]);
});

t.test(
  'no prompt passes a known limit, and only one prompt at a time tries a guessed limit',
  async (t) => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('pass' as const) }),
      fc.record({
        do: fc.constant('done' as const),
        of: fc.nat(5),
        how: fc.constantFrom(
          undefined,
          hit(),
          hit({ retry_after: 90 }),
          tooFast(),
          tooFast(7),
          other,
        ),
      }),
      fc.record({ do: fc.constant('advance' as const), ms: fc.nat(40 * minute) }),
    );
    const property = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { gate, pass, advance } = makeGate();
      const running: { pass: Pass; trial: boolean }[] = [];
      for (const one of steps) {
        const before = gate.states[0];
        if (one.do === 'advance') await advance(one.ms);
        else if (one.do === 'done') running.splice(one.of, 1)[0]?.pass.done(one.how);
        else {
          const let_in = await pass().catch(() => undefined);
          if (!let_in) {
            if (!before?.closed) throw new Error('an open gate refused');
            continue;
          }
          const trial = before?.closed === true;
          if (trial && !before.guessed) throw new Error('a known limit was passed');
          if (trial && running.some((other) => other.trial)) throw new Error('two try at once');
          running.push({ pass: let_in, trial });
        }
      }
      // However it came here, it opens again.
      for (const { pass } of running) pass.done(undefined);
      await advance(9 * 24 * 60 * minute);
      (await pass()).done(undefined);
      await Promise.all([pass(), pass()]);
    });
    await t.resolves(fc.assert(property, { numRuns: 300 }));
  },
);
