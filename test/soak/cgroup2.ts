/**
 * `npm run soak:cgroup2`: boots Debian's kernel in QEMU with cgroup v2 and runs there the tests of the
 * memory guard, kernel kills without berth, and five leaks with berth and the real CLI. Ends with 1 if a
 * figure misses its target. Needs qemu-system-x86 and e2fsprogs. The kernel and busybox come
 * from apt-get download, if they are not installed. Arguments: the parts to run (cgroup2-guest.ts).
 * Options: --minutes N (by default 120), --json.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findDebian, missingPackages } from './cgroup2-downloads.ts';
import { buildImage } from './cgroup2-image.ts';
import { runMachine } from './cgroup2-machine.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '120' },
    json: { type: 'boolean', default: false },
  },
});
const print = (text: string): void => void process.stdout.write(`${text}\n`);

const missing = missingPackages();
if (missing.length > 0) {
  const install = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  process.stderr.write(`cannot run the virtual machine: programs are missing; run ${install}\n`);
  process.exit(1);
}

const figures: Record<string, unknown>[] = [];
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-cgroup2-'));
const consoleFile = join(directory, 'console');
let ended = false;

function onLine({ kind, ...line }: Record<string, unknown>): void {
  if (kind === 'end') ended = true;
  if (kind === 'figure') {
    figures.push(line);
    print(`${line.name}: ${line.value}${line.ok ? '' : `, and ${line.target} is expected`}`);
  } else print(`${kind}: ${JSON.stringify(line)}`);
}

try {
  const { kernel, busybox } = findDebian(directory);
  print(`kernel: ${kernel}`);
  const disk = buildImage({ directory, busybox, arguments: positionals });
  const signal = AbortSignal.timeout(Number(values.minutes) * 60_000);
  await runMachine({ kernel, disk, console: consoleFile, onLine, signal });
  if (!ended)
    print(`the machine stopped early: ${readFileSync(consoleFile, 'utf8').slice(-3_000)}`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (values.json) print(JSON.stringify({ figures }));
process.exitCode = ended && figures.every(({ ok }) => ok) ? 0 : 1;
