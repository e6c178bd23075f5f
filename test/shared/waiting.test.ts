import { getEventListeners } from 'node:events';
import t, { type Test } from 'tap';
import { abortable, aborted, pause, sleep, withDeadline, within } from '../../shared/waiting.ts';

const never = new Promise<never>(() => {});
const long = 3_600_000;
const late = (): Error => new Error('late');

t.test('work that ends first gives its result', async (t) => {
  const { signal } = new AbortController();
  t.equal(await abortable(Promise.resolve(1), signal), 1);
  t.equal(await withDeadline(Promise.resolve(2), long, late), 2);
  t.equal(await within(Promise.resolve(3), long, signal), 3);
  leavesNothing(t, signal);
});

t.test('work that fails first gives its error', async (t) => {
  const { signal } = new AbortController();
  const failing = (): Promise<never> => Promise.reject(new Error('broken'));
  await t.rejects(abortable(failing(), signal), { message: 'broken' });
  await t.rejects(withDeadline(failing(), long, late), { message: 'broken' });
  await t.rejects(within(failing(), long, signal), { message: 'broken' });
  leavesNothing(t, signal);
});

t.test('an abort that comes first ends the wait', async (t) => {
  const stop = new AbortController();
  const waits = [
    t.rejects(abortable(never, stop.signal), { message: 'stop' }),
    t.rejects(sleep(long, stop.signal), { message: 'stop' }),
    t.resolveMatch(within(never, long, stop.signal), undefined),
    t.resolves(pause(long, stop.signal)),
    t.resolves(aborted(stop.signal)),
  ];
  stop.abort(new Error('stop'));
  await Promise.all(waits);
  leavesNothing(t, stop.signal);
});

t.test('a deadline that comes first ends the wait', async (t) => {
  const { signal } = new AbortController();
  await t.rejects(withDeadline(never, 5, late), { message: 'late' });
  t.equal(await within(never, 5, signal), undefined);
  await pause(5, signal);
  await sleep(5, signal);
  leavesNothing(t, signal);
});

t.test('a signal that has aborted already wins over work that has ended already', async (t) => {
  const signal = AbortSignal.abort(new Error('stop'));
  await t.rejects(abortable(Promise.resolve(1), signal), { message: 'stop' });
  t.equal(await within(Promise.resolve(1), long, signal), undefined);
  await t.rejects(sleep(long, signal), { message: 'stop' });
  await aborted(signal);
  leavesNothing(t, signal);
});

t.test('work that fails after the wait has ended is no unhandled rejection', async (t) => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): number => unhandled.push(reason);
  process.on('unhandledRejection', note);
  t.teardown(() => process.off('unhandledRejection', note));
  const work = Promise.withResolvers<void>();
  t.equal(await within(work.promise, 1), undefined);
  await t.rejects(withDeadline(work.promise, 1, late), { message: 'late' });
  work.reject(new Error('too late'));
  await pause(10);
  t.same(unhandled, []);
});

t.test('a deadline longer than any timer of Node does not come at once', async (t) => {
  const work = pause(20).then(() => 'done');
  t.equal(await within(work, Number.POSITIVE_INFINITY), 'done');
});

/** Neither a listener of the signal nor a timer keeps the program alive. */
function leavesNothing(t: Test, signal: AbortSignal): void {
  t.same(getEventListeners(signal, 'abort'), []);
  const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout');
  t.ok(timers.length <= timersBefore, `${timers.length} timers`);
}

const timersBefore = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
