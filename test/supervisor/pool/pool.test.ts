import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { startPool } from '../../support/pool.ts';
import { processesOf } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

t.jobs = 3;

t.test('prompts without a session get distinct processes, a follow-up the same one', async (t) => {
  const { ask, most } = await startPool(t, { maxWorkers: 3 });
  const [one, two] = await Promise.all([ask('[[say one]]'), ask('[[say two]]')]);
  t.not(one.worker, two.worker);
  t.not(one.sessionId, two.sessionId);
  const again = await ask('[[say again]]', one.sessionId);
  t.equal(again.worker, one.worker);
  t.equal(again.result.result, 'again');
  t.ok(most() <= 3, `${most()} processes`);
});

t.test(
  'a worker that is returned unused is recycled if it was marked, and otherwise stays idle',
  async (t) => {
    const { acquire, ask, pool, recycled } = await startPool(t);
    const { sessionId, worker } = await ask('[[say one]]');
    const kept = await acquire({ sessionId });
    pool.giveBack(kept);
    t.match(kept, { state: 'idle', turns: 1 });
    t.equal(await acquire({ sessionId }), worker);
    void pool.recycle(worker, 'memory');
    t.match(worker, { state: 'busy', recycleAfterTurn: 'memory' });
    pool.giveBack(worker);
    await worker.gone;
    t.same(recycled, ['memory']);
    t.equal((await ask('[[say two]]', sessionId)).result.result, 'two', 'its session goes on');
  },
);

t.test('a worker that memory allows to stay is still recycled for another reason', async (t) => {
  const { acquire, ask, pool, recycled } = await startPool(t);
  const { sessionId, worker } = await ask('[[say one]]');
  await acquire({ sessionId });
  void pool.recycle(worker, 'renewed');
  void pool.recycle(worker, 'memory');
  t.equal(worker.recycleAfterTurn, 'memory', 'that end is the fastest');
  pool.spare(worker, 'memory');
  pool.release(worker, true);
  await pool.stop();
  t.same(recycled, ['renewed']);
});

t.test('prompts for one session run one after the other, in sequence', async (t) => {
  const { ask, pool, surroundings } = await startPool(t);
  const { sessionId } = await ask('[[say zero]]');
  const order: string[] = [];
  const numbers = ['one', 'two', 'three'];
  await Promise.all(
    numbers.map(async (number) =>
      order.push((await ask(`[[say ${number}]]`, sessionId)).result.result),
    ),
  );
  t.same(order, numbers);
  t.equal(pool.workers.length, 1);
  const last = surroundings.api.requests.at(-1)?.body?.messages;
  const said = JSON.stringify(last).match(/\[\[say (\w+)\]\]/g);
  t.same(
    said,
    ['zero', ...numbers].map((number) => `[[say ${number}]]`),
  );
});

t.test(
  'there are never more processes than allowed; the least used session makes room',
  async (t) => {
    const { ask, most, log, recycled } = await startPool(t, { warmWorkers: 1 });
    const first = await ask('[[say remember the blue door]]');
    const second = await ask('[[say second]]');
    await ask('[[say second again]]', second.sessionId);
    const third = await ask('[[say third]]');
    t.ok(recycled.length > 0 && recycled.every((reason) => reason === 'place'), recycled.join());
    const evicted = log.lines.find(({ event }) => event === 'worker_recycled');
    t.equal(evicted?.session_id, first.sessionId, 'the one that was not used for the longest time');

    const again = await ask('[[say back]]', first.sessionId);
    t.not(again.worker, first.worker);
    t.equal(again.sessionId, first.sessionId, 'its session goes on in another process');
    t.equal(again.result.result, 'back');
    await Promise.all([
      ask('[[say a]]', first.sessionId),
      ask('[[say b]]', second.sessionId),
      ask('[[say c]]', third.sessionId),
      ask('[[say d]]'),
    ]);
    t.ok(most() <= 2, `${most()} processes`);
  },
);

t.test('a resumed session keeps its earlier messages', async (t) => {
  const { ask, pool, surroundings } = await startPool(t, { maxWorkers: 1 });
  const first = await ask('[[say the blue door]]');
  await ask('[[say something else]]');
  t.equal(pool.workers.length, 1);
  await ask('[[say and now]]', first.sessionId);
  const messages = JSON.stringify(surroundings.api.requests.at(-1)?.body?.messages);
  t.match(messages, /\[\[say the blue door\]\]/);
  t.notMatch(messages, /something else/);
});

t.test('a full queue sends the next one away, and only that one', async (t) => {
  const { pool, ready, acquire } = await startPool(t, {
    warmWorkers: 1,
    maxWorkers: 1,
    queueLimit: 1,
  });
  await ready();
  const busy = await acquire();
  const places: number[] = [];
  const leaving = new AbortController();
  const waiting = acquire({ signal: leaving.signal }, (place) => places.push(place));
  t.equal(pool.queued, 1);
  await t.rejects(acquire(), {
    code: 'queue_full',
    status: 429,
    retryable: true,
    message: /1 prompts are already waiting; .*BERTH_QUEUE_LIMIT or BERTH_MAX_WORKERS/,
  });
  t.same(places, [1]);
  t.equal(pool.queued, 1);

  const reason = new Error('gone');
  leaving.abort(reason);
  await t.rejects(waiting, reason, 'who leaves gets the reason back');
  t.equal(pool.queued, 0, 'and does not wait any more');
  const next = acquire();
  t.equal(pool.queued, 1);
  busy.sessionId = 'e2ff1d0a-90ab-4a35-9ad7-4a7a1be1e9d1';
  pool.release(busy, true);
  pool.release(await next, false);
});

t.test('with a queue limit of 0, no prompt waits, but a free worker is used', async (t) => {
  const { pool, ready, acquire } = await startPool(t, {
    warmWorkers: 1,
    maxWorkers: 1,
    queueLimit: 0,
  });
  await ready();
  const worker = await acquire();
  await t.rejects(acquire(), { code: 'queue_full' });
  pool.release(worker, false);
});

t.test('a caller that has already left is rejected at once', async (t) => {
  const { pool, acquire } = await startPool(t);
  await t.rejects(acquire({ signal: AbortSignal.abort(new Error('gone')) }), /gone/);
  t.equal(pool.workers.length, 0);
});

t.test('an idle worker is recycled after its time, a warm one is not', async (t) => {
  const { ask, pool, recycled, log } = await startPool(t, { warmWorkers: 1, idleTimeout: 100 });
  const { worker } = await ask('[[say one]]');
  await log.logged('worker_ended', (line) => line.worker === worker.name);
  t.same(recycled, ['idle']);
  await until('another is warm', () => pool.count('warm') === 1);
});

t.test('a lone session keeps its place although no worker is warm then', async (t) => {
  const { ask, pool, recycled } = await startPool(t, { warmWorkers: 1, maxWorkers: 1 });
  const { worker, sessionId } = await ask('[[say one]]');
  t.equal(worker.state, 'idle');
  t.equal((await ask('[[say two]]', sessionId)).worker, worker);
  t.same(recycled, []);
  t.equal(pool.count('warm'), 0);
});

t.test('drain rejects waiting and new callers, and running turns finish', async (t) => {
  const { pool, ready, acquire } = await startPool(t, { warmWorkers: 1, maxWorkers: 1 });
  await ready();
  const worker = await acquire();
  const running = worker.process.run('[[slow 20]] [[say done]]');
  const waiting = acquire();
  const draining = new BerthError('draining', 'cannot: stopping');
  pool.drain(draining);
  await t.rejects(waiting, draining);
  await t.rejects(acquire(), draining);
  t.equal((await running).result, 'done');
});

t.test('stop ends all workers in any state, and can be called twice', async (t) => {
  const { pool, ask, surroundings, ready, acquire } = await startPool(t, {
    maxWorkers: 3,
    warmWorkers: 2,
  });
  await ready();
  await ask('[[say idle]]');
  const busy = await acquire();
  const running = busy.process.run('[[hang stream]]');
  running.catch(() => {});
  await Promise.all([pool.stop(), pool.stop()]);
  t.same(processesOf(surroundings.config), []);
  t.equal(pool.workers.length, 0);
  await t.rejects(running, { code: /^(worker_lost|cli_unavailable)$/ }, 'begun or not');
  await t.rejects(acquire(), { code: 'draining' });
});

t.test('a process whose flags differ from the wanted flags is replaced', async (t) => {
  const { ask, recycled } = await startPool(t, { maxWorkers: 1 });
  const first = await ask('[[say one]]');
  const second = await ask('[[say two]]', first.sessionId, { key: 'renewed' });
  t.not(second.worker, first.worker);
  t.equal(second.sessionId, first.sessionId);
  t.same(recycled, ['renewed']);
});

t.test('a process that may serve one turn is ended after it', async (t) => {
  const { ask, recycled } = await startPool(t, { maxWorkers: 1 });
  const first = await ask('[[say one]]', undefined, { once: true });
  t.equal(first.worker.state, 'recycling');
  const second = await ask('[[say two]]', first.sessionId, { once: true });
  t.not(second.worker, first.worker);
  t.same(recycled, ['renewed', 'renewed']);
});

t.test('the next warm process does not start in the first moment of a turn', async (t) => {
  const { pool, launches, acquire } = await startPool(t, { warmWorkers: 1 });
  await until('one is warm', () => pool.count('warm') === 1);
  const worker = await acquire();
  t.equal(launches(), 1);
  await until('another starts while the turn runs', () => launches() === 2);
  await until('it is warm', () => pool.count('warm') === 1);
  pool.release(worker, false);
});
