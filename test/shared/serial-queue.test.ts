import t from 'tap';
import { SerialQueue } from '../../shared/serial-queue.ts';

t.test('work begins when the work before it has ended', async (t) => {
  const queue = new SerialQueue();
  const happened: string[] = [];
  const first = Promise.withResolvers<void>();
  const one = queue.add(async () => {
    happened.push('one begins');
    await first.promise;
    happened.push('one ends');
  });
  const two = queue.add(() => happened.push('two'));
  await Promise.resolve();
  t.same(happened, ['one begins']);
  first.resolve();
  await Promise.all([one, two]);
  t.same(happened, ['one begins', 'one ends', 'two']);
});

t.test('the caller gets the result of the work', async (t) => {
  t.equal(await new SerialQueue().add(async () => 42), 42);
});

t.test('work that fails does not stop the work behind it', async (t) => {
  const queue = new SerialQueue();
  const failing = queue.add(() => {
    throw new Error('broken');
  });
  const next = queue.add(() => 'next');
  await t.rejects(failing, { message: 'broken' });
  t.equal(await next, 'next');
});

t.test('the queue is idle when all that was added has ended, failed or not', async (t) => {
  const queue = new SerialQueue();
  await queue.idle();
  let ended = 0;
  queue.add(() => Promise.reject(new Error('broken'))).catch(() => ended++);
  void queue.add(async () => {
    await new Promise(setImmediate);
    ended++;
  });
  await queue.idle();
  t.equal(ended, 2);
});
