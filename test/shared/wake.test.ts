import { getEventListeners } from 'node:events';
import t from 'tap';
import { Wake } from '../../shared/wake.ts';

const hour = 3_600_000;

/** Whether a wait still runs when all that is due now has run. */
async function isWaiting(waiting: Promise<void>): Promise<boolean> {
  const later = new Promise<'later'>((resolve) => setImmediate(() => resolve('later')));
  return (await Promise.race([waiting, later])) === 'later';
}

t.test('a wake ends the running wait', async (t) => {
  const wake = new Wake();
  const waiting = wake.wait(hour);
  t.ok(await isWaiting(waiting));
  wake.wake();
  await waiting;
});

t.test('a wake before the wait ends that wait at once, and no later wait', async (t) => {
  const stopping = new AbortController();
  const wake = new Wake();
  wake.wake();
  wake.wake();
  await wake.wait(hour);
  const second = wake.wait(hour, stopping.signal);
  t.ok(await isWaiting(second), 'two wakes count as one');
  stopping.abort();
  await second;
});

t.test('a wake that was cleared ends no wait', async (t) => {
  const stopping = new AbortController();
  const wake = new Wake();
  wake.wake();
  wake.clear();
  const waiting = wake.wait(hour, stopping.signal);
  t.ok(await isWaiting(waiting));
  wake.wake();
  await waiting;
});

t.test('the signal ends the wait, and no wait begins after that', async (t) => {
  const stopping = new AbortController();
  const wake = new Wake();
  const waiting = wake.wait(hour, stopping.signal);
  stopping.abort();
  await waiting;
  await wake.wait(hour, stopping.signal);
  t.same(getEventListeners(stopping.signal, 'abort'), []);
});

t.test('a wait ends at its deadline, and leaves no listener on the signal', async (t) => {
  const { signal } = new AbortController();
  const wake = new Wake();
  const listeners = () => getEventListeners(signal, 'abort').length;
  for (let round = 0; round < 20; round++) {
    await wake.wait(1, signal);
    t.equal(listeners(), 0, 'the time is over');
    const woken = wake.wait(hour, signal);
    t.equal(listeners(), 1);
    wake.wake();
    await woken;
    t.equal(listeners(), 0, 'it was woken');
  }
});
