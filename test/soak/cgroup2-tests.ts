/** Runs a test file in the virtual machine, in a cgroup with limits as a container has them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import { text } from 'node:stream/consumers';
import { makeMemoryCgroup } from '../support/memory-cgroup.ts';
import { enterAndRun } from '../support/programs.ts';
import { reportFigure } from './cgroup2-report.ts';

export async function runTest(path: string): Promise<void> {
  const cgroup = makeMemoryCgroup('tests', 2 ** 30);
  const command = ['-c', enterAndRun, cgroup.procs.join(' '), process.execPath, path];
  const child = spawn('sh', command, {
    env: { ...process.env, TAP_TIMEOUT: '900' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
  const count = /^# \{ total: .*\}$/m.exec(output)?.[0] ?? output.slice(-1_500);
  const failures = output.match(/^ *not ok.*$/gm) ?? [];
  reportFigure(`${basename(path)} ${count} ${failures.join(' ')}`.trim(), Number(code ?? -1), 0);
  await cgroup.remove();
}
