import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { killMarked } from '../../../supervisor/memory/kill-marked.ts';
import { treeCpu } from '../../../supervisor/memory/process-tree.ts';
import { ProcessTrees } from '../../../supervisor/memory/process-trees.ts';
import { testDirectory } from '../../support/directory.ts';
import { lives } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

/** A shell with a child and a grandchild; tells their ids. */
async function startTree(t: Test, marks: Record<string, string> = {}) {
  const script = 'sh -c "tail -f /dev/null & echo \\$\\$ \\$!; wait" & wait';
  const child: ChildProcess = spawn('sh', ['-c', script], {
    env: { PATH: process.env.PATH, ...marks },
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  const root = child.pid ?? 0;
  t.teardown(() => {
    try {
      process.kill(-root, 'SIGKILL');
    } catch {
      // The test has ended it.
    }
  });
  const [ids] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  return { child, pids: [root, ...ids.toString().trim().split(' ').map(Number)] };
}

function resident(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

const marksOf = (worker: string) => ({ BERTH_WORKER: worker, CLAUDE_CONFIG_DIR: '/made/up' });

t.test('the memory of a tree is that of all its processes', async (t) => {
  const { pids } = await startTree(t);
  t.equal(pids.length, 3);
  const trees = new ProcessTrees({ marksOf });
  const roots = [{ name: 'worker-1', pid: pids[0] ?? 0 }];
  const expected = () => pids.map(resident).reduce((sum, bytes) => sum + bytes, 0);
  // The kernel counts by processor, and rounds where it is asked for speed.
  const close = () =>
    Math.abs((trees.read(roots).get('worker-1')?.resident ?? 0) - expected()) < 3 * 2 ** 20;
  await until('both agree', close);
  t.match(trees.read(roots).get('worker-1'), { processes: 3 });
});

t.test(
  'a process that left its parents is found by its marks; a known process needs no marks',
  async (t) => {
    const { child, pids } = await startTree(t, marksOf('worker-2'));
    const unmarked = await startTree(t);
    const trees = new ProcessTrees({ marksOf });
    const roots = [
      { name: 'worker-2', pid: 2 ** 22 },
      { name: 'worker-3', pid: unmarked.pids[0] ?? 0 },
    ];
    t.equal(trees.read(roots).get('worker-2')?.processes, 3, 'though its CLI is none of them');
    t.equal(trees.read(roots).get('worker-3')?.processes, 3);
    for (const { child: shell } of [{ child }, unmarked]) {
      shell.kill('SIGKILL');
      await once(shell, 'exit');
    }
    t.equal(trees.read(roots).get('worker-2')?.processes, 2);
    t.equal(trees.read(roots).get('worker-3')?.processes, 2, 'orphans without a mark too');
    t.same(pids.filter(lives).length, 2);
  },
);

t.test('the CPU time of a tree is that of all its processes and of reaped children', async (t) => {
  const { pids } = await startTree(t);
  const idle = await treeCpu(pids[0] ?? 0);
  t.ok(idle < 1_000, 'a shell that waits uses next to none');
  const stat = (name: string, ticks: string) => `7 (${name}) S 1 ${'0 '.repeat(9)}${ticks} 20 0 1`;
  const root = testDirectory(t, {
    1: { stat: stat('node', '1 2 3 4'), task: { 1: { children: '2' } } },
    2: { stat: stat('a) R 9 (b', '10 20 0 0'), task: { 2: { children: '' } } },
  });
  t.equal(await treeCpu(1, root), 400, 'in milliseconds, whatever a process calls itself');
  const busy = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
  t.teardown(() => busy.kill('SIGKILL'));
  await until('it is seen to work', async () => (await treeCpu(busy.pid ?? 0)) >= 50);
});

t.test('the tree of an ended process has no memory and no processes', async (t) => {
  const child = spawn('true');
  await once(child, 'exit');
  const trees = new ProcessTrees({ marksOf });
  const gone = trees.read([{ name: 'worker-1', pid: child.pid ?? 0 }]);
  t.same(gone.get('worker-1'), { bytes: 0, resident: 0, largest: 0, processes: 0 });
  t.equal(await treeCpu(child.pid ?? 0), 0);
});

t.test('memory that processes share is counted once', async (t) => {
  const script = 'setTimeout(() => {}, 60_000); console.log("up")';
  const start = async (): Promise<number> => {
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    t.teardown(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    return child.pid ?? 0;
  };
  const roots = [{ name: 'worker-1', pid: await start() }];
  await start();
  const trees = new ProcessTrees({ marksOf });
  const before = trees.read(roots).get('worker-1');
  t.equal(before?.bytes, before?.resident, 'not measured yet');
  await trees.measure(performance.now());
  const after = trees.read(roots).get('worker-1');
  const shared = (after?.resident ?? 0) - (after?.bytes ?? 0);
  t.ok(shared > 10 * 2 ** 20, `both have the program of Node.js, ${shared} bytes of it`);
});

/** A line of /proc/PID/stat: the name may have anything in it. */
const stat = (pid: number, parent: number, pages: number) => ({
  stat: `${pid} (a) 1 (b)) S ${parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 ${pid}00 9999 ${pages} 0\n`,
});

t.test('a cyclic or endless process tree is handled', async (t) => {
  const root = testDirectory(t, {
    1: stat(1, 3, 1),
    2: stat(2, 1, 1),
    3: stat(3, 2, 1),
    4: stat(4, 4, 1),
  });
  const trees = new ProcessTrees({ marksOf, root });
  t.match(trees.read([{ name: 'w', pid: 1 }]).get('w'), { processes: 3, resident: 3 * 4096 });
  const many = Array.from({ length: 50 }, (_, index) => [index + 1, stat(index + 1, 1, 1)]);
  const bomb = new ProcessTrees({
    marksOf,
    root: testDirectory(t, Object.fromEntries(many)),
    most: 40,
  });
  t.equal(bomb.read([{ name: 'w', pid: 1 }]).get('w')?.processes, 40);
});

t.test('entries that cannot be read are left out', async (t) => {
  const root = testDirectory(t, {
    1: stat(1, 0, 5),
    2: {},
    3: { stat: 'torn (' },
    4: { stat: {} },
    version: 'Linux',
  });
  const trees = new ProcessTrees({ marksOf, root });
  t.match(trees.read([{ name: 'w', pid: 1 }]).get('w'), { processes: 1, resident: 5 * 4096 });
  t.same(new ProcessTrees({ marksOf, root: '/nowhere' }).read([]).size, 0);
});

t.test('each process with all marks is killed, even after leaving its parents', async (t) => {
  const marks = { BERTH_WORKER: 'worker-1', CLAUDE_CONFIG_DIR: t.testdirName };
  const mine = await startTree(t, marks);
  const other = await startTree(t, { ...marks, BERTH_WORKER: 'worker-2' });
  const elsewhere = await startTree(t, { ...marks, CLAUDE_CONFIG_DIR: '/elsewhere' });
  await killMarked(marks);
  t.same(mine.pids.filter(lives), []);
  t.same(other.pids.filter(lives), other.pids);
  t.same(elsewhere.pids.filter(lives), elsewhere.pids);
});
