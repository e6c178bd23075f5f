import t from 'tap';
import { forEachParallel } from '../../shared/parallel.ts';

const never = new AbortController().signal;

t.test('each item is handled once, with at most the allowed number at a time', async (t) => {
  const done: number[] = [];
  let running = 0;
  let most = 0;
  await forEachParallel([0, 1, 2, 3, 4, 5, 6], 3, never, async (item, index) => {
    t.equal(item, index);
    running += 1;
    most = Math.max(most, running);
    await new Promise(setImmediate);
    running -= 1;
    done.push(item);
  });
  t.same(done.sort(), [0, 1, 2, 3, 4, 5, 6]);
  t.equal(most, 3);
});

t.test('after a failure nothing new begins, and what runs ends first', async (t) => {
  const begun: number[] = [];
  const ended: number[] = [];
  const second = Promise.withResolvers<void>();
  const whole = forEachParallel([0, 1, 2, 3], 2, never, async (item) => {
    begun.push(item);
    if (item === 0) throw new Error('broken');
    await second.promise;
    ended.push(item);
  });
  let isOver = false;
  const over = whole.catch((error: Error) => {
    isOver = true;
    return error.message;
  });
  await new Promise(setImmediate);
  t.notOk(isOver, 'the other item still runs');
  second.resolve();
  t.equal(await over, 'broken');
  t.same(begun, [0, 1]);
  t.same(ended, [1]);
});

t.test('an abort ends the work with its reason', async (t) => {
  const stop = new AbortController();
  const begun: number[] = [];
  const whole = forEachParallel([0, 1, 2], 1, stop.signal, async (item) => {
    begun.push(item);
    stop.abort(new Error('enough'));
  });
  await t.rejects(whole, { message: 'enough' });
  t.same(begun, [0]);
});
