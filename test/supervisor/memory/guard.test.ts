import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createLog } from '../../../shared/log.ts';
import { cliArguments } from '../../../supervisor/claude/command.ts';
import { cliEnvironment } from '../../../supervisor/claude/environment.ts';
import { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import { MemoryGuard, tooLarge } from '../../../supervisor/memory/guard.ts';
import { Pool } from '../../../supervisor/pool/pool.ts';
import { prepareWorker } from '../../../supervisor/pool/prepare.ts';
import { type Prompt, Sessions } from '../../../supervisor/sessions/sessions.ts';
import { captureLog } from '../../support/captured-log.ts';
import { makeSurroundings, realClaude } from '../../support/claude.ts';
import { promptText } from '../../support/messages-api.ts';
import { storeIn } from '../../support/session-record.ts';
import { until } from '../../support/until.ts';

const limits = { containerSoft: { share: 0.5 }, workerSoft: { bytes: 100 } };
const worker = (name: string, idle = true) => ({ name, pid: 1, idle, served: true });
const readings = (
  workers: Record<string, number>,
  workingSet = 0,
  limit: number | undefined = 1_000,
) => ({
  container: { workingSet, limit },
  workers: new Map(Object.entries(workers)),
});

t.test('within its limits nobody goes', (t) => {
  const workers = [worker('a'), worker('b', false)];
  t.same(tooLarge(workers, readings({ a: 100, b: 100 }, 500), limits), []);
  t.end();
});

t.test('whoever is above its own limit goes, idle or not', (t) => {
  const workers = [worker('a'), worker('b'), worker('c', false)];
  t.same(tooLarge(workers, readings({ a: 101, b: 99, c: 500 }), limits), ['a', 'c']);
  t.end();
});

t.test('above the limit of the container the largest idle one goes, alone', (t) => {
  const workers = [worker('a'), worker('b'), worker('c', false)];
  t.same(tooLarge(workers, readings({ a: 50, b: 60, c: 70 }, 501), limits), ['b']);
  t.same(tooLarge([worker('c', false)], readings({ c: 70 }, 501), limits), []);
  t.end();
});

t.test('one that goes at once makes room for the container too, a busy one does not', (t) => {
  const workers = [worker('a'), worker('b'), worker('c', false)];
  t.same(tooLarge(workers, readings({ a: 101, b: 60, c: 70 }, 501), limits), ['a']);
  t.same(tooLarge(workers, readings({ a: 50, b: 60, c: 101 }, 501), limits), ['c', 'b']);
  t.end();
});

t.test('one that has served nobody stays: another in its place would be as large', (t) => {
  const warm = { name: 'w', pid: 1, idle: false, served: false };
  t.same(tooLarge([warm], readings({ w: 500 }, 900), limits), []);
  t.same(tooLarge([warm, worker('a')], readings({ w: 500, a: 50 }, 900), limits), ['a']);
  t.end();
});

t.test('a share of no limit is no bound, a size is one', (t) => {
  const unlimited = { container: { workingSet: 10_000, limit: undefined }, workers: new Map() };
  t.same(tooLarge([worker('a')], unlimited, limits), []);
  t.same(tooLarge([worker('a')], unlimited, { ...limits, containerSoft: { bytes: 9_000 } }), ['a']);
  const none = { container: undefined, workers: new Map([['a', 101]]) };
  t.same(tooLarge([worker('a')], none, limits), ['a']);
  t.same(tooLarge([worker('a')], none, { ...limits, workerSoft: { share: 0.1 } }), []);
  t.end();
});

t.test('it looks by itself, tells the pool once, and stops', async (t) => {
  const root = t.testdir({ 'memory.current': '400', 'memory.max': '1000', 'memory.stat': '' });
  const recycled: string[] = [];
  const log = captureLog();
  const guard = new MemoryGuard({
    ...limits,
    workerSoft: { bytes: 2 ** 40 },
    workers: () => [{ name: 'me', pid: process.pid, idle: true, served: true }],
    recycle: (name) => recycled.push(name),
    log: log.log,
    cgroupRoot: root,
    interval: 5,
  });
  await guard.start();
  t.same(recycled, []);
  t.match(guard.readings, { container: { limit: 1_000, workingSet: 400 } });
  t.ok((guard.readings.workers.get('me') ?? 0) > 2 ** 20);
  writeFileSync(join(root, 'memory.current'), '600');
  await until('it is told', () => recycled.length > 0);
  await guard.look();
  await guard.look();
  t.same(recycled, ['me'], 'not again while it is on its way');
  const line = await log.logged('memory_limit');
  t.match(line, { worker: 'me', working_set_bytes: 600, limit_bytes: 1_000, worker_bytes: Number });
  await guard.stop();
});

t.test('without a limit of the container it says so, once', async (t) => {
  const log = captureLog();
  const guard = new MemoryGuard({
    ...limits,
    workers: () => [],
    recycle: () => {},
    log: log.log,
    cgroupRoot: '/nowhere',
  });
  await guard.start();
  await guard.stop();
  t.equal(log.count('memory_unreadable'), 1);
  t.match(log.text, /set resources\.limits\.memory/);
});

t.test(
  'a worker above its limit is recycled when it is idle, and its session goes on',
  async (t) => {
    const { api, config, workspace, inherited } = await makeSurroundings(t);
    const quiet = createLog({ service: 'test', version: '0', level: 'error', pretty: false });
    const pool = new Pool({
      warmWorkers: 0,
      maxWorkers: 1,
      queueLimit: 10,
      idleTimeout: 600_000,
      launch: (name, sessionId) =>
        new ClaudeProcess({
          path: realClaude,
          arguments: cliArguments(sessionId),
          environment: cliEnvironment(inherited, config, name),
          workingDirectory: workspace,
          onStray: () => {},
        }),
      prepare: prepareWorker,
      clearAway: async () => {},
      log: quiet,
    });
    t.teardown(() => pool.stop());
    pool.start();
    const store = storeIn(join(config, '.berth'));
    t.teardown(() => store.flush());
    const sessions = new Sessions({
      pool,
      store,
      directoryOf: () => ({ path: workspace, mode: 'shared' }),
      assertRoom: async () => {},
      cliVersion: () => '',
      log: quiet,
      onTurn: () => {},
    });
    const run = (text: string, sessionId?: string) => {
      const prompt: Prompt = { text, sessionId, timeout: 60_000, token: 'tests' };
      return sessions.run(prompt, new AbortController().signal, () => {});
    };
    const guard = new MemoryGuard({
      containerSoft: { share: 0.9 },
      // A healthy CLI has 150 MB; here any of it is too much.
      workerSoft: { bytes: 2 ** 20 },
      workers: () =>
        pool.workers.flatMap(({ name, state, process: { pid } }) =>
          pid === undefined || state === 'recycling'
            ? []
            : [{ name, pid, idle: state === 'idle', served: true }],
        ),
      recycle: (name) => {
        const large = pool.workers.find((candidate) => candidate.name === name);
        if (large) void pool.recycle(large, 'memory');
      },
      log: quiet,
      cgroupRoot: '/nowhere',
    });

    const { session_id } = await run('[[say one]]');
    const [first] = pool.workers;
    await guard.look();
    await first?.gone;
    t.equal(first?.process.alive, false, 'it was idle and has gone');

    const text = '[[slow 40]] [[say two]]';
    const running = run(text, session_id);
    await api.waitForRequest((request) => promptText(request) === text);
    const [second] = pool.workers;
    t.not(second, first);
    await guard.look();
    t.match(second, { state: 'busy', recycleAfterTurn: 'memory' }, 'it is busy and stays');
    t.match(await running, { result: 'two', session_id });
    await second?.gone;
    t.equal(second?.process.alive, false, 'and goes when its turn is over');
    t.match(await run('[[say three]]', session_id), { result: 'three', session_id });
  },
);
