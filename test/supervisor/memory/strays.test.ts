/** What hides from its worker, in a process namespace of its own as a container has one. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { killStrays } from '../../../supervisor/memory/strays.ts';
import { testDirectory } from '../../support/directory.ts';
import { cannotMount } from '../../support/small-volume.ts';

const strays = new URL('../../../supervisor/memory/strays.ts', import.meta.url).href;

/** Stands for the supervisor: an orphan with a clean environment, then what `body` does. */
const program = (body: string) => `
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { killStrays } from ${JSON.stringify(strays)};
const sleeps = () => readdirSync('/proc').filter((pid) => {
  try {
    const [name, time] = readFileSync('/proc/' + pid + '/cmdline', 'latin1').split(String.fromCharCode(0));
    return name === 'sleep' && time === '300';
  } catch {
    return false;
  }
}).length;
// Times in /proc are in hundredths of a second.
const tick = () => new Promise((resolve) => setTimeout(resolve, 50));
const hide = () => execFileSync('sh', ['-c', 'env -i setsid sh -c "sleep 300 & exec sleep 300" >/dev/null 2>&1 &']);
const started = async () => { while (sleeps() < 2) await tick(); await tick(); };
await tick();
${body}
process.exit(0);
`;

/** @param init the name of process 1, which starts the program */
function inContainer(t: Test, init: string, body: string): string {
  const directory = testDirectory(t, {});
  const script = join(directory, 'program.mjs');
  writeFileSync(script, program(body));
  const shell = join(directory, init);
  copyFileSync('/bin/sh', shell);
  chmodSync(shell, 0o755);
  const command = `"${process.execPath}" "${script}"; exit $?`;
  const run = spawnSync('unshare', ['-pf', '--kill-child', '--mount-proc', shell, '-c', command], {
    encoding: 'utf8',
    timeout: 30_000,
    killSignal: 'SIGKILL',
  });
  return `${run.stdout}${run.stderr}`.trim();
}

const skip = cannotMount;

t.test(
  'a process that clears its environment and leaves its session is found and killed',
  { skip },
  (t) => {
    const body = 'hide(); await started(); await killStrays([]); console.log(sleeps());';
    t.equal(inContainer(t, 'tini', body), '0');
    t.end();
  },
);

t.test(
  'a process that a live worker may have started stays until the worker ends',
  { skip },
  (t) => {
    const body = `
    const worker = spawn('sleep', ['301']);
    await tick();
    hide(); await started();
    await killStrays([worker.pid]); console.log(sleeps());
    const later = spawn('sleep', ['301']);
    worker.kill(); await killStrays([later.pid]); console.log(sleeps());`;
    t.equal(inContainer(t, 'tini', body), '2\n0');
    t.end();
  },
);

t.test('where process 1 is no init of a container, nothing is ended', { skip }, async (t) => {
  for (const init of ['systemd', 'pause', 'bash']) {
    const body = 'hide(); await started(); await killStrays([]); console.log(sleeps());';
    t.equal(inContainer(t, init, body), '2', init);
  }
  // Nor here: this process is no child of process 1.
  await killStrays([]);
});
