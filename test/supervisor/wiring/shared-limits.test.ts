import t from 'tap';
import type { UsageLimit } from '../../../supervisor/claude/usage-limit.ts';
import { SharedLimits } from '../../../supervisor/wiring/shared-limits.ts';

const start = Date.parse('2026-01-01T00:00:00Z');
const minute = 60_000;
const day = 24 * 60 * minute;

const report = (more: Partial<UsageLimit> = {}): UsageLimit => ({
  status: 'rejected',
  type: 'five_hour',
  resetsAt: start + 60 * minute,
  utilization: undefined,
  usingOverage: false,
  windows: {},
  ...more,
});
const allowed = { status: 'allowed', type: undefined, resetsAt: undefined };

/** Replicas of one account, each with its clock, and a function that brings all reports of one to another. */
function makeReplica(account: () => string | undefined = () => 'one') {
  const clock = { now: start };
  const limits = new SharedLimits({ accountOf: account, now: () => clock.now });
  const hear = (from: { limits: SharedLimits }) =>
    Object.entries(from.limits.all).flatMap(([login, each]) => limits.adopt(login, each) ?? []);
  return { clock, limits, hear };
}

t.test('a limit is heard once, with the windows of an earlier report', async (t) => {
  const [a, b] = [makeReplica(), makeReplica()];
  const windows = { seven_day: { utilization: 0.5, resetsAt: start + day } };
  a.limits.note('x', report({ ...allowed, windows }));
  a.limits.note('x', report());
  t.strictSame(b.hear(a), [report({ windows })]);
  t.strictSame(b.hear(a), []);
  t.strictSame(a.hear(b), []);
});

t.test('a limit is heard although a replica whose clock is ahead has a newer report', async (t) => {
  const [a, b] = [makeReplica(), makeReplica()];
  b.clock.now += 2 * minute;
  const windows = { seven_day: { utilization: 0.5, resetsAt: start + day } };
  b.limits.note('x', report({ ...allowed, windows }));
  a.limits.note('x', report());
  t.strictSame(b.hear(a), [report({ windows })]);
  t.strictSame(b.hear(a), []);
  t.match(a.hear(b), [report({ windows })], 'its windows are newer');
  t.strictSame(b.hear(a), []);
});

t.test('an answer to an earlier call does not hide the limit from the others', async (t) => {
  const [a, b] = [makeReplica(), makeReplica()];
  a.limits.note('x', report());
  a.limits.note('x', report(allowed));
  a.limits.note('x', report({ type: 'seven_day_opus' }));
  t.match(b.hear(a), [{ status: 'rejected', type: 'five_hour' }]);
  const late = makeReplica();
  a.clock.now = late.clock.now = start + 60 * minute;
  a.limits.note('x', report({ ...allowed, status: 'allowed_warning' }));
  t.match(late.hear(a), [{ status: 'allowed_warning' }], 'until the limit has ended');
});

t.test('a limit without an end counts for some minutes', async (t) => {
  const a = makeReplica();
  a.limits.note('x', report({ resetsAt: undefined }));
  const [soon, late] = [makeReplica(), makeReplica()];
  soon.clock.now += minute;
  t.match(soon.hear(a), [{ status: 'rejected' }]);
  late.clock.now += day;
  t.strictSame(late.hear(a), []);
});

t.test('an end that no window has closes nothing for ever', async (t) => {
  const a = makeReplica();
  a.limits.note('x', report({ resetsAt: start + 9_000 * day }));
  a.clock.now += day;
  a.limits.note('x', report(allowed));
  const b = makeReplica();
  t.match(b.hear(a), [{ status: 'rejected', resetsAt: start + 8 * day }]);
  a.clock.now = b.clock.now = start + 10 * day;
  t.strictSame(b.limits.all, {}, 'old reports are not published again');
  t.strictSame(makeReplica().hear(a), []);
});

t.test('a login that was replaced leaves the limit of its account behind', async (t) => {
  let account = 'one';
  const a = makeReplica(() => account);
  a.limits.note('x', report());
  account = 'two';
  a.limits.note('x', report(allowed));
  const b = makeReplica(() => 'two');
  t.match(b.hear(a), [{ status: 'allowed' }]);
  t.strictSame(makeReplica(() => 'one').hear(a), []);
  t.strictSame(makeReplica(() => undefined).hear(a), []);
});
