import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { acquireLease, type LeaseOptions } from '../../shared/lease.ts';
import { captureLog } from '../init/fixture.ts';
import { testDirectory } from '../support/directory.ts';
import { until } from '../support/until.ts';

function volume(t: Test) {
  const directory = testDirectory(t);
  const { log, lines } = captureLog();
  const signal = new AbortController().signal;
  const times = { heartbeat: 20, expiry: 10_000 };
  const acquire = (program: string, options: Partial<LeaseOptions> = {}) =>
    acquireLease({ directory, program, log, signal, ...times, ...options });
  const path = join(directory, 'lease.json');
  return { directory, path, lines, acquire, holder: () => JSON.parse(readFileSync(path, 'utf8')) };
}

t.test('a lease is held until it is released, and may be released twice', async (t) => {
  const { acquire, path, holder } = volume(t);
  const lease = await acquire('init');
  t.match(holder(), { version: 1, holder: /^init on / });
  await lease.assertHeld();
  await lease.release();
  await lease.release();
  t.notOk(existsSync(path));
  await t.rejects(lease.assertHeld(), { code: 'lease_held' });
});

t.test('a second program waits until the first has ended', async (t) => {
  const { acquire, lines, holder } = volume(t);
  const first = await acquire('init');
  const order: string[] = [];
  const second = acquire('serve').then((lease) => {
    order.push('second');
    return lease;
  });
  await until('it waits', () => lines.some(({ event }) => event === 'lease_waiting'));
  order.push('first ends');
  await first.release();
  const lease = await second;
  t.strictSame(order, ['first ends', 'second']);
  t.match(holder(), { holder: /^serve on / });
  await lease.release();
});

t.test(
  'a live lease is not taken over, and the wait ends with the name of the holder',
  async (t) => {
    const { acquire, lines } = volume(t);
    const first = await acquire('serve');
    const stop = new AbortController();
    const rejected = t.rejects(acquire('init', { signal: stop.signal }), {
      code: 'lease_held',
      message: /serve on .* holds it/,
    });
    await until('it waits', () => lines.some(({ event }) => event === 'lease_waiting'));
    stop.abort();
    await rejected;
    await first.assertHeld();
    await first.release();
  },
);

t.test('an aborted request gets no lease, even if the lease is free', async (t) => {
  const { acquire, path } = volume(t);
  await t.rejects(acquire('init', { signal: AbortSignal.abort() }), {
    code: 'lease_held',
    message: /was stopped before/,
  });
  t.notOk(existsSync(path));
});

t.test('a lease without heartbeats is taken over', async (t) => {
  const { acquire, path, holder } = volume(t);
  for (const dead of [
    '{"version":1,"owner":"x","holder":"init on gone","beat":3}',
    '',
    '{"version":9}',
  ]) {
    writeFileSync(path, dead);
    const lease = await acquire('serve', { expiry: 200 });
    t.match(holder(), { holder: /^serve on / });
    await lease.release();
  }
});

t.test('a holder that lost the lease is notified and does not take the lease back', async (t) => {
  const { acquire, path } = volume(t);
  const lease = await acquire('init');
  const other = { version: 1, owner: 'other', holder: 'serve on pod-2', beat: 1 };
  // The heartbeat may be just under way and replace it once.
  await until('the loss is seen', () => {
    if (!lease.lost.aborted) writeFileSync(path, JSON.stringify(other));
    return lease.lost.aborted;
  });
  t.match(lease.lost.reason, { code: 'lease_held', message: /pod-2 took the lease over/ });
  writeFileSync(path, JSON.stringify(other));
  await t.rejects(lease.assertHeld(), { code: 'lease_held' });
  await lease.release();
  t.ok(existsSync(path), "the other's lease stays");
});

t.test('if many programs request the lease at once, one program holds it at a time', async (t) => {
  const { acquire } = volume(t);
  let holding = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      const lease = await acquire(`program ${index}`, { expiry: 5_000 });
      most = Math.max(most, ++holding);
      await lease.assertHeld();
      holding -= 1;
      await lease.release();
    }),
  );
  t.equal(most, 1);
});

t.test('if the directory cannot be written, the error is volume_unwritable', async (t) => {
  const { directory, acquire } = volume(t);
  rmSync(directory, { recursive: true });
  writeFileSync(directory, 'a file');
  await t.rejects(acquire('init'), { code: 'volume_unwritable' });
  rmSync(directory);
  mkdirSync(directory);
});
