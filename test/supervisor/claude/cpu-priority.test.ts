import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { getPriority } from 'node:os';
import t from 'tap';
import { lowerPriority } from '../../../supervisor/claude/cpu-priority.ts';

t.test(
  'a process that gives way, and its children, get less CPU time than the supervisor',
  async (t) => {
    const child = spawn('sh', ['-c', 'read line; nice'], { stdio: ['pipe', 'pipe', 'ignore'] });
    t.teardown(() => child.kill('SIGKILL'));
    t.ok(lowerPriority(child.pid ?? 0));
    child.stdin.end('\n');
    const [niceness] = await once(child.stdout.setEncoding('utf8'), 'data');
    t.equal(Number(niceness), Math.min(19, getPriority() + 10));
  },
);

t.test('a process that is gone needs no priority', async (t) => {
  t.notOk(lowerPriority(2 ** 22));
});
