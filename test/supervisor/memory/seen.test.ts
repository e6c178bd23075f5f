/** A process that was seen below a worker stays attributed to it, with a clean environment and no parent. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { killWithGroups } from '../../../supervisor/memory/kill-marked.ts';
import { ProcessTrees } from '../../../supervisor/memory/process-trees.ts';
import { lives } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

t.test('a process that left its worker after being seen is found and killed', async (t) => {
  const hidden = 'env -i setsid sh -c "exec sleep 300" >/dev/null 2>&1 & echo started; read line';
  const worker = spawn('sh', ['-c', hidden], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(worker.stdout, 'data');
  const root = { name: 'worker-1', pid: worker.pid as number };
  const trees = new ProcessTrees({ marksOf: (name) => ({ BERTH_WORKER: name, NOBODY: name }) });
  await until('it is seen', () => trees.read([root]).get('worker-1')?.processes === 2);
  worker.stdin.end('\n');
  await once(worker, 'exit');
  trees.read([]);
  const [pid, ...more] = trees.pidsOf('worker-1');
  t.ok(pid);
  t.same(more, []);
  t.same(trees.pidsOf('worker-2'), []);
  killWithGroups([pid as number]);
  await until('it has ended', () => !lives(pid as number));
  t.same(trees.pidsOf('worker-1'), []);
});
