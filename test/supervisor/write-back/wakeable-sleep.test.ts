import { getEventListeners } from 'node:events';
import t from 'tap';
import { Rest } from '../../../supervisor/write-back/wakeable-sleep.ts';

const hour = 3_600_000;

t.test('however it ends, a rest leaves no listener on the signal', async (t) => {
  const { signal } = new AbortController();
  const rest = new Rest();
  const listeners = () => getEventListeners(signal, 'abort').length;
  for (let round = 0; round < 20; round++) {
    await rest.take(1, signal);
    t.equal(listeners(), 0, 'the time is over');
    const woken = rest.take(hour, signal);
    t.equal(listeners(), 1);
    rest.wake();
    await woken;
    t.equal(listeners(), 0, 'it was woken');
  }
});

t.test('the signal ends it, and no rest begins after', async (t) => {
  const stopping = new AbortController();
  const rest = new Rest();
  const resting = rest.take(hour, stopping.signal);
  stopping.abort();
  await resting;
  await rest.take(hour, stopping.signal);
  t.same(getEventListeners(stopping.signal, 'abort'), []);
});

t.test('to wake nobody does nothing', async (t) => {
  const rest = new Rest();
  rest.wake();
  const resting = rest.take(hour, new AbortController().signal).then(() => 'woken');
  t.equal(await Promise.race([resting, Promise.resolve('resting')]), 'resting');
  rest.wake();
  t.equal(await resting, 'woken');
});
