import { getEventListeners } from 'node:events';
import t from 'tap';
import { WakeableSleep } from '../../../supervisor/write-back/wakeable-sleep.ts';

const hour = 3_600_000;

t.test('however it ends, a sleep leaves no listener on the signal', async (t) => {
  const { signal } = new AbortController();
  const sleep = new WakeableSleep();
  const listeners = () => getEventListeners(signal, 'abort').length;
  for (let round = 0; round < 20; round++) {
    await sleep.take(1, signal);
    t.equal(listeners(), 0, 'the time is over');
    const woken = sleep.take(hour, signal);
    t.equal(listeners(), 1);
    sleep.wake();
    await woken;
    t.equal(listeners(), 0, 'it was woken');
  }
});

t.test('the signal ends it, and no sleep begins after that', async (t) => {
  const stopping = new AbortController();
  const sleep = new WakeableSleep();
  const sleeping = sleep.take(hour, stopping.signal);
  stopping.abort();
  await sleeping;
  await sleep.take(hour, stopping.signal);
  t.same(getEventListeners(stopping.signal, 'abort'), []);
});

t.test('a wake without a sleeper has no effect', async (t) => {
  const sleep = new WakeableSleep();
  sleep.wake();
  const sleeping = sleep.take(hour, new AbortController().signal).then(() => 'woken');
  t.equal(await Promise.race([sleeping, Promise.resolve('sleeping')]), 'sleeping');
  sleep.wake();
  t.equal(await sleeping, 'woken');
});
