import t, { type Test } from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { cliArguments } from '../../../supervisor/claude/command.ts';
import { cliEnvironment, marksOf } from '../../../supervisor/claude/environment.ts';
import { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import { killMarked } from '../../../supervisor/memory/leftovers.ts';
import { Pool, type PoolOptions } from '../../../supervisor/pool/pool.ts';
import { prepareWorker } from '../../../supervisor/pool/prepare.ts';
import { captureLog } from '../../support/captured-log.ts';
import {
  bashAllowed,
  makeSurroundings,
  realClaude,
  type Surroundings,
  scripted,
} from '../../support/claude.ts';
import { processesOf, tailsOf } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

t.jobs = 3;

/** A pool of real processes; on every event it is looked at whether there are too many. */
async function startPool(
  t: Test,
  options: Partial<PoolOptions> & { path?: () => string; surroundings?: Surroundings } = {},
) {
  const { path = () => realClaude, surroundings = await makeSurroundings(t), ...rest } = options;
  let most = 0;
  let launches = 0;
  const recycled: string[] = [];
  const sample = (): void => {
    // The CLI itself, not what it starts, which bears its name until it has its own.
    const own = processesOf(surroundings.config).filter(
      ({ command, leader }) => leader && /claude/.test(command),
    );
    most = Math.max(most, own.length);
  };
  const log = captureLog(sample);
  const pool = new Pool({
    warmWorkers: 0,
    maxWorkers: 2,
    queueLimit: 10,
    idleTimeout: 600_000,
    launch: (name, sessionId) => {
      launches += 1;
      return new ClaudeProcess({
        path: path(),
        arguments: cliArguments({ resume: sessionId }),
        environment: cliEnvironment(surroundings.inherited, surroundings.config, name),
        workingDirectory: surroundings.workspace,
        onStray: () => {},
      });
    },
    prepare: prepareWorker,
    clearAway: (name) => killMarked(marksOf(surroundings.config, name)),
    onRecycle: (reason) => recycled.push(reason),
    log: log.log,
    ...rest,
  });
  t.teardown(() => pool.stop());
  pool.start();
  return {
    pool,
    surroundings,
    log,
    recycled,
    /** The most CLI processes that were ever there at once. */
    most: () => most,
    launches: () => launches,
    ready: () => until('a worker is warm', () => pool.count('warm') > 0),
    /** One prompt, as sessions/ does it. */
    async ask(text: string, sessionId?: string) {
      const worker = await acquire(pool, sessionId);
      try {
        const result = await worker.process.run(text);
        worker.sessionId = result.sessionId;
        return { worker, result, sessionId: result.sessionId };
      } finally {
        pool.release(worker, worker.process.idle);
      }
    },
  };
}

function acquire(pool: Pool, sessionId?: string, signal = new AbortController().signal) {
  return pool.acquire({ sessionId, signal, onQueued: () => {} });
}

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

t.test('prompts for one session run in their order, one after the other', async (t) => {
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

t.test('what a resumed session was told before is still known to the model', async (t) => {
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
  const { pool, ready } = await startPool(t, { warmWorkers: 1, maxWorkers: 1, queueLimit: 1 });
  await ready();
  const busy = await acquire(pool);
  const places: number[] = [];
  const leaving = new AbortController();
  const options = { sessionId: undefined, signal: leaving.signal };
  const waiting = pool.acquire({ ...options, onQueued: (place) => places.push(place) });
  t.equal(pool.queued, 1);
  await t.rejects(acquire(pool), {
    code: 'queue_full',
    status: 429,
    retryable: true,
    message: /1 are waiting already; .*BERTH_QUEUE_LIMIT or BERTH_MAX_WORKERS/,
  });
  t.same(places, [1]);
  t.equal(pool.queued, 1);

  const reason = new Error('gone');
  leaving.abort(reason);
  await t.rejects(waiting, reason, 'who leaves gets the reason back');
  t.equal(pool.queued, 0, 'and does not wait any more');
  const next = acquire(pool);
  t.equal(pool.queued, 1);
  busy.sessionId = 'e2ff1d0a-90ab-4a35-9ad7-4a7a1be1e9d1';
  pool.release(busy, true);
  pool.release(await next, false);
});

t.test('with a limit of none nobody waits, but a free worker is used', async (t) => {
  const { pool, ready } = await startPool(t, { warmWorkers: 1, maxWorkers: 1, queueLimit: 0 });
  await ready();
  const worker = await acquire(pool);
  await t.rejects(acquire(pool), { code: 'queue_full' });
  pool.release(worker, false);
});

t.test('who is gone already waits for nothing', async (t) => {
  const { pool } = await startPool(t);
  await t.rejects(acquire(pool, undefined, AbortSignal.abort(new Error('gone'))), /gone/);
  t.equal(pool.workers.length, 0);
});

t.test('a session whose transcript is gone is not found, with one attempt', async (t) => {
  const { ask, launches, log, recycled, pool } = await startPool(t);
  const missing = 'c2b2a2f2-5c8e-4b33-9d0e-0f9a4a4c1c11';
  await t.rejects(ask('hello', missing), {
    code: 'session_not_found',
    message: /its transcript is not on the volume any more; leave session_id out/,
  });
  await until('the process is gone', () => pool.workers.length === 0);
  t.equal(launches(), 1);
  t.equal(log.count('worker_failed'), 0, 'it is no failure of the CLI');
  t.same(recycled, []);
  t.equal((await ask('[[say fine]]')).result.result, 'fine');
});

t.test('a turn that does not end costs the process, not the session', async (t) => {
  const { ask, pool, recycled, ready } = await startPool(t, { warmWorkers: 1, maxWorkers: 1 });
  const { sessionId } = await ask('[[say one]]');
  const worker = await acquire(pool, sessionId);
  pool.release(worker, false);
  await ready();
  t.equal((await ask('[[say two]]', sessionId)).result.result, 'two');
  t.same(recycled, ['unresponsive', 'place'], 'the warm one made room for the session');
  t.equal(worker.process.alive, false);
});

t.test('a new prompt does not wait for a worker that starts for a session', async (t) => {
  const { ask, pool } = await startPool(t, {
    prepare: (process, sessionId) =>
      sessionId === undefined
        ? prepareWorker(process, undefined)
        : process.ended.then(() => Promise.reject(new Error('it was never ready'))),
  });
  const { worker, sessionId } = await ask('[[say one]]');
  await pool.recycle(worker, 'idle');
  const leaving = new AbortController();
  const hanging = acquire(pool, sessionId, leaving.signal);
  t.equal((await ask('[[say at once]]')).result.result, 'at once');
  leaving.abort(new Error('enough'));
  await t.rejects(hanging, /enough/);
});

t.test('a process that is killed in mid-turn is replaced, and its session goes on', async (t) => {
  const surroundings = await makeSurroundings(t, { 'settings.json': bashAllowed });
  const { ask, pool, recycled } = await startPool(t, { surroundings, maxWorkers: 1 });
  const { worker, sessionId } = await ask('[[say one]]');
  const tool = '[[tool Bash {"command":"setsid tail -f /dev/null & tail -f /dev/null"}]]';
  const running = ask(tool, sessionId);
  await until('Bash runs', () => tailsOf(surroundings.config).length === 2);
  process.kill(worker.process.pid ?? 0, 'SIGKILL');
  await t.rejects(running, { code: 'worker_lost', message: /SIGKILL/ });
  t.equal((await ask('[[say alive]]', sessionId)).result.result, 'alive');
  t.same(recycled, ['crashed'], 'it is counted once');
  t.same(tailsOf(surroundings.config), [], 'what its tools had started is gone as well');
  t.equal(pool.workers.length, 1);
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

t.test('drain sends away who waits and who comes, and lets run what runs', async (t) => {
  const { pool, ready } = await startPool(t, { warmWorkers: 1, maxWorkers: 1 });
  await ready();
  const worker = await acquire(pool);
  const running = worker.process.run('[[slow 20]] [[say done]]');
  const waiting = acquire(pool);
  const draining = new BerthError('draining', 'cannot: stopping');
  pool.drain(draining);
  await t.rejects(waiting, draining);
  await t.rejects(acquire(pool), draining);
  t.equal((await running).result, 'done');
});

t.test('stop ends everything, whatever its state, and can be called twice', async (t) => {
  const { pool, ask, surroundings, ready } = await startPool(t, { maxWorkers: 3, warmWorkers: 2 });
  await ready();
  await ask('[[say idle]]');
  const busy = await acquire(pool);
  const running = busy.process.run('[[hang stream]]');
  running.catch(() => {});
  await Promise.all([pool.stop(), pool.stop()]);
  t.same(processesOf(surroundings.config), []);
  t.equal(pool.workers.length, 0);
  await t.rejects(running, { code: /^(worker_lost|cli_unavailable)$/ }, 'begun or not');
  await t.rejects(acquire(pool), { code: 'draining' });
});

t.test('a CLI that cannot start is tried less and less often, and recovers', async (t) => {
  let path = scripted('claude-that-exits');
  const { pool, log, launches } = await startPool(t, { warmWorkers: 1, path: () => path });
  await t.rejects(acquire(pool), { code: 'cli_unavailable', message: /cannot open the moon/ });
  t.equal(launches(), 3, 'it has waited for three attempts, each after a pause');
  t.equal(log.count('worker_failed'), 3);
  const started = performance.now();
  await t.rejects(acquire(pool), { code: 'cli_unavailable', message: /cannot open the moon/ });
  t.ok(performance.now() - started < 50, 'now the answer comes at once');
  t.equal(launches(), 3);
  t.match(pool.launchFailure?.message, /cannot open the moon/);

  path = realClaude;
  const worker = await until('it works again', () => acquire(pool).catch(() => undefined));
  t.equal(pool.launchFailure, undefined);
  pool.release(worker, false);
});

t.test('a process that the system refuses at once is a start that failed, like any', async (t) => {
  const { pool, log } = await startPool(t, {
    path: () => {
      throw new Error('spawn ENOMEM');
    },
  });
  const refused = { code: 'cli_unavailable', message: /cannot start a worker: .*ENOMEM/ };
  await t.rejects(acquire(pool, 'e2ff1d0a-90ab-4a35-9ad7-4a7a1be1e9d1'), refused);
  await t.rejects(acquire(pool), refused);
  t.equal(log.count('worker_failed'), 4, 'one for the session, three for the other');
  t.equal(pool.queued, 0);
});

t.test('without warm workers too, a CLI that works again is found by a prompt', async (t) => {
  let path = scripted('claude-that-exits');
  const { pool } = await startPool(t, { path: () => path });
  await t.rejects(acquire(pool), { code: 'cli_unavailable' });
  path = realClaude;
  const worker = await until('it works again', () => acquire(pool).catch(() => undefined));
  pool.release(worker, false);
});

t.test('while no worker can start, a session whose process lives is served', async (t) => {
  let path = realClaude;
  const { ask, pool } = await startPool(t, { path: () => path });
  const { sessionId } = await ask('[[say one]]');
  path = scripted('claude-that-exits');
  await t.rejects(acquire(pool), { code: 'cli_unavailable' });
  t.equal((await ask('[[say two]]', sessionId)).result.result, 'two');
});

t.test('a warm worker that keeps dying by itself counts as one that cannot start', async (t) => {
  const { pool, log } = await startPool(t, { warmWorkers: 1 });
  for (let death = 1; death <= 3; death++) {
    const warm = await until('a worker is warm', () =>
      pool.workers.find(({ state }) => state === 'warm'),
    );
    process.kill(warm.process.pid ?? 0, 'SIGKILL');
    await log.logged('worker_ended', ({ worker }) => worker === warm.name);
  }
  await t.rejects(acquire(pool), {
    code: 'cli_unavailable',
    message: /ended by itself .*SIGKILL\) before its first prompt/,
  });
});
