import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { killMarked } from '../../../supervisor/memory/leftovers.ts';
import { treeCpu, treeMemory } from '../../../supervisor/memory/process-tree.ts';
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

t.test('the memory of a tree is that of all its processes', async (t) => {
  const { pids } = await startTree(t);
  t.equal(pids.length, 3);
  const expected = () => pids.map(resident).reduce((sum, bytes) => sum + bytes, 0);
  // The figures settle once all three have started up.
  await until('both agree', async () => (await treeMemory(pids[0] ?? 0)) === expected());
  t.ok((await treeMemory(pids[0] ?? 0)) > resident(pids[0] ?? 0));
});

t.test('the CPU time of a tree is that of all its processes and of reaped children', async (t) => {
  const { pids } = await startTree(t);
  const idle = await treeCpu(pids[0] ?? 0);
  t.ok(idle < 1_000, 'a shell that waits uses next to none');
  const stat = (name: string, ticks: string) => `7 (${name}) S 1 ${'0 '.repeat(9)}${ticks} 20 0 1`;
  const root = t.testdir({
    1: { stat: stat('node', '1 2 3 4'), task: { 1: { children: '2' } } },
    2: { stat: stat('a) R 9 (b', '10 20 0 0'), task: { 2: { children: '' } } },
  });
  t.equal(await treeCpu(1, root), 400, 'in milliseconds, whatever a process calls itself');
  const busy = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
  t.teardown(() => busy.kill('SIGKILL'));
  await until('it is seen to work', async () => (await treeCpu(busy.pid ?? 0)) >= 50);
});

t.test('one that has ended has none', async (t) => {
  const child = spawn('true');
  await once(child, 'exit');
  t.equal(await treeMemory(child.pid ?? 0), 0);
  t.equal(await treeCpu(child.pid ?? 0), 0);
});

t.test('a tree that is cyclic or endless, as no kernel would tell it, is survived', async (t) => {
  const process = (pid: number, children: string) => ({
    status: 'VmRSS:\t  10 kB\n',
    task: { [pid]: { children } },
  });
  const root = t.testdir({ 1: process(1, '2 2 3 '), 2: process(2, '1'), 3: process(3, '') });
  t.equal(await treeMemory(1, root), 30 * 1024);
  const wide = Array.from({ length: 5_000 }, (_, index) => index + 10).join(' ');
  t.equal(await treeMemory(9, t.testdir({ 9: process(9, wide) })), 10 * 1024);
});

t.test('what carries all marks is ended, however it has left its parents', async (t) => {
  const marks = { BERTH_WORKER: 'worker-1', CLAUDE_CONFIG_DIR: t.testdirName };
  const mine = await startTree(t, marks);
  const other = await startTree(t, { ...marks, BERTH_WORKER: 'worker-2' });
  const elsewhere = await startTree(t, { ...marks, CLAUDE_CONFIG_DIR: '/elsewhere' });
  await killMarked(marks);
  t.same(mine.pids.filter(lives), []);
  t.same(other.pids.filter(lives), other.pids);
  t.same(elsewhere.pids.filter(lives), elsewhere.pids);
});
