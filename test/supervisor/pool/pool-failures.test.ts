import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import type { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import { prepareWorker } from '../../../supervisor/pool/prepare.ts';
import {
  bashAllowed,
  makeSurroundings,
  scripted,
  scriptedClaude,
  startProcess,
} from '../../support/claude.ts';
import { startPool } from '../../support/pool.ts';
import { processesOf, tailsOf } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

t.jobs = 3;

t.test('a session with a missing transcript is not found after one attempt', async (t) => {
  const { ask, launches, log, recycled, pool } = await startPool(t);
  const missing = 'c2b2a2f2-5c8e-4b33-9d0e-0f9a4a4c1c11';
  await t.rejects(ask('hello', missing), {
    code: 'session_not_found',
    message: /its transcript is not on the volume any more; omit session_id/,
  });
  await until('the process is gone', () => pool.workers.length === 0);
  t.equal(launches(), 1);
  t.equal(log.count('worker_failed'), 0, 'it is no failure of the CLI');
  t.same(recycled, []);
  t.equal((await ask('[[say fine]]')).result.result, 'fine');
});

t.test(
  'prompts wait for a change that is about to come, although starts have failed',
  async (t) => {
    let isBad = true;
    let failed = 0;
    const { ask, pool } = await startPool(t, {
      prepare: (process, order) =>
        isBad ? Promise.reject(new Error('a hook blocks')) : prepareWorker(process, order),
      onStart: (_, ready) => {
        if (ready) return;
        failed += 1;
        if (failed === 3) pool.freeze();
      },
    });
    const early = ask('[[say early]]');
    await until('three starts have failed', () => failed === 3);
    const late = ask('[[say late]]');
    isBad = false;
    pool.thaw();
    t.equal((await early).result.result, 'early');
    t.equal((await late).result.result, 'late');
  },
);

t.test('a turn that does not end costs the process, not the session', async (t) => {
  const { ask, pool, recycled, ready, acquire } = await startPool(t, {
    warmWorkers: 1,
    maxWorkers: 1,
  });
  const { sessionId } = await ask('[[say one]]');
  const worker = await acquire({ sessionId });
  pool.release(worker, false);
  await ready();
  t.equal((await ask('[[say two]]', sessionId)).result.result, 'two');
  t.same(recycled, ['unresponsive', 'place'], 'the warm one made room for the session');
  t.equal(worker.process.alive, false);
});

t.test('a new prompt does not wait for a worker that starts for a session', async (t) => {
  const { ask, pool, acquire } = await startPool(t, {
    prepare: (process, order) =>
      order.sessionId === undefined
        ? prepareWorker(process, order)
        : process.ended.then(() => Promise.reject(new Error('it was never ready'))),
  });
  const { worker, sessionId } = await ask('[[say one]]');
  await pool.recycle(worker, 'idle');
  const leaving = new AbortController();
  const hanging = acquire({ sessionId, signal: leaving.signal });
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

t.test('a CLI that cannot start is tried less and less often, and recovers', async (t) => {
  let path = scripted('claude-that-exits');
  const { pool, log, launches, acquire } = await startPool(t, { warmWorkers: 1, path: () => path });
  await t.rejects(acquire(), { code: 'cli_unavailable', message: /cannot open the moon/ });
  t.equal(launches(), 3, 'it has waited for three attempts, each after a pause');
  t.equal(log.count('worker_failed'), 3);
  await t.rejects(acquire(), { code: 'cli_unavailable', message: /cannot open the moon/ });
  t.equal(launches(), 3, 'now the answer comes at once, without another attempt');
  t.match(pool.launchFailures.get('default')?.error.message, /cannot open the moon/);

  path = scriptedClaude;
  const worker = await until('it works again', () => acquire().catch(() => undefined));
  t.equal(pool.launchFailures.size, 0);
  pool.release(worker, false);
});

t.test('a process that the system refuses at once is a start that failed, like any', async (t) => {
  const { pool, log, acquire } = await startPool(t, {
    path: () => {
      throw Object.assign(new Error('spawn ENOMEM'), { code: 'ENOMEM', syscall: 'spawn claude' });
    },
  });
  const refused = {
    code: 'cli_unavailable',
    message: /cannot start a worker: there is not enough memory for another process.*ENOMEM/,
  };
  await t.rejects(acquire({ sessionId: 'e2ff1d0a-90ab-4a35-9ad7-4a7a1be1e9d1' }), refused);
  await t.rejects(acquire(), refused);
  t.equal(log.count('worker_failed'), 4, 'one for the session, three for the other');
  t.equal(pool.queued, 0);
});

t.test('without warm workers too, a CLI that works again is found by a prompt', async (t) => {
  let path = scripted('claude-that-exits');
  const { pool, acquire } = await startPool(t, { path: () => path });
  await t.rejects(acquire(), { code: 'cli_unavailable' });
  path = scriptedClaude;
  const worker = await until('it works again', () => acquire().catch(() => undefined));
  pool.release(worker, false);
});

t.test('while no worker can start, a session whose process lives is served', async (t) => {
  let path = scriptedClaude;
  const { ask, acquire } = await startPool(t, { path: () => path });
  const { sessionId } = await ask('[[say one]]');
  path = scripted('claude-that-exits');
  await t.rejects(acquire(), { code: 'cli_unavailable' });
  t.equal((await ask('[[say two]]', sessionId)).result.result, 'two');
});

t.test('a warm worker that dies again and again counts as a failing start', async (t) => {
  const { pool, log, acquire } = await startPool(t, { warmWorkers: 1 });
  for (let death = 1; death <= 3; death++) {
    const warm = await until('a worker is warm', () =>
      pool.workers.find(({ state }) => state === 'warm'),
    );
    process.kill(warm.process.pid ?? 0, 'SIGKILL');
    await log.logged('worker_ended', ({ worker }) => worker === warm.name);
  }
  await t.rejects(acquire(), {
    code: 'cli_unavailable',
    message: /ended by itself .*SIGKILL\) before its first prompt/,
  });
});

t.test('a request whose own flags the CLI refuses fails alone, at once', async (t) => {
  const { ask, pool, acquire, surroundings, launches, log } = await startPool(t);
  const refused = (name: string): ClaudeProcess =>
    startProcess(t, surroundings, { name, path: scripted('claude-that-exits') });
  const own = { key: 'default with a bad flag', own: true, launch: refused };
  for (let attempt = 1; attempt <= 4; attempt++) {
    await t.rejects(acquire(own), {
      code: 'cli_unavailable',
      message: /cannot open the moon.*; this request needs its own process/s,
    });
  }
  t.equal(log.count('worker_failed'), 4, 'each was tried once');
  t.equal(pool.launchFailures.size, 0, 'the profile is as good as before');
  t.equal((await ask('[[say fine]]')).result.result, 'fine');
  t.equal(launches(), 1);
});

t.test(
  'a process that is killed before it is ready is started once more for its session',
  async (t) => {
    let kills = 0;
    const { ask, pool, launches, acquire } = await startPool(t, {
      prepare: async (child, order) => {
        if (order.sessionId !== undefined && kills > 0) {
          kills -= 1;
          process.kill(child.pid ?? 0, 'SIGKILL');
        }
        await prepareWorker(child, order);
      },
    });
    const { worker, sessionId } = await ask('[[say one]]');
    const end = async (): Promise<void> => {
      for (const other of pool.workers) await pool.recycle(other, 'idle');
    };
    await worker.process.stop();
    await until('its process is gone', () => pool.workers.length === 0);
    kills = 1;
    t.equal((await ask('[[say two]]', sessionId)).result.result, 'two');
    t.equal(launches(), 3);
    await end();
    kills = 2;
    await t.rejects(acquire({ sessionId }), { code: 'cli_unavailable' });
    t.equal(launches(), 5, 'and not for ever');
    t.equal((await ask('[[say three]]', sessionId)).result.result, 'three');
  },
);

t.test(
  "a request's own process that is killed before it is ready is started once more",
  async (t) => {
    let kills = 1;
    const { pool, acquire, surroundings, log } = await startPool(t, {
      prepare: async (child, spec) => {
        if (spec.own && kills > 0) {
          kills -= 1;
          process.kill(child.pid ?? 0, 'SIGKILL');
        }
        await prepareWorker(child, spec);
      },
    });
    const launch = (name: string): ClaudeProcess =>
      startProcess(t, surroundings, { name, path: scriptedClaude });
    const own = { key: 'default with another model', own: true, launch };
    pool.release(await acquire(own), false);
    t.equal(log.count('worker_failed'), 1);
    await until('its process is gone', () => pool.workers.length === 0);
    kills = 2;
    await t.rejects(acquire(own), { code: 'cli_unavailable' });
    t.equal(log.count('worker_failed'), 3, 'and not for ever');
  },
);

t.test('a held session is reserved for the caller that continues the session', async (t) => {
  const { ask, pool, acquire } = await startPool(t, { maxWorkers: 1 });
  const { sessionId } = await ask('[[say one]]');
  const letGo = pool.hold(sessionId);
  const other = acquire({ sessionId });
  const mine = await acquire({ sessionId, continues: true });
  t.equal(mine.sessionId, sessionId);
  letGo();
  t.equal(await Promise.race([other, 'it waits']), 'it waits');
  pool.release(mine, true);
  t.equal(await other, mine);
  pool.release(mine, true);
});

t.test('a lost lease ends workers at once, also those that are being ended already', async (t) => {
  // Neither the end of its input nor SIGTERM ends this CLI, as if its hooks ran. Whatever waits for the hooks, or for a
  // refresh of the login, waits longer than this test may take.
  const tooLong = 3_600_000;
  const { pool, recycled, surroundings } = await startPool(t, {
    path: () => scripted('claude-that-is-silent'),
    prepare: async () => {},
    sessionEnd: tooLong,
    warmWorkers: 2,
    beforeEnd: () => delay(tooLong, undefined, { ref: false }),
  });
  await until('two workers are warm', () => pool.count('warm') === 2);
  const [idle] = pool.workers;
  if (idle) void pool.recycle(idle, 'idle');
  let stopped = false;
  void pool.stop('lease_lost').then(() => {
    stopped = true;
  });
  await until('both workers have ended', () => stopped);
  t.same(recycled, ['idle', 'lease_lost']);
  t.same(processesOf(surroundings.config), []);
});
