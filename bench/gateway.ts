/**
 * `npm run bench:gateway`: clone, fetch and push through the gateway, compared with git straight to the
 * same server with the same token. The gateway is a process of its own with the flags of the image of
 * init. The repository has 30 MB; each push has 30 MB too, and updates a branch, so its history is proved.
 * A round needs some 20 s of CPU time, most of it for git itself. Progress goes to the standard error. A git
 * command that takes more than three minutes ends the run. Argument: `rounds=N`, by default 3.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { startGitServer } from '../test/support/git-server.ts';
import { createRepository, type FileSpec, gitEnvironment } from '../test/support/repository.ts';
import { type Figure, quantile, report } from './report.ts';

const token = 'bench-token-0123456789';
/** The flags of Dockerfile.init. */
const flags = [
  ...['--max-semi-space-size=1', '--initial-old-space-size=64', '--no-opt', '--no-maglev'],
  '--liftoff-only',
];
const operations = ['clone', 'fetch', 'push'] as const;
const ways = ['git', 'gateway'] as const;
const most = 1.15;
const files = 30;
/** Milliseconds for one git command. */
const patience = 180_000;

await using cleanup = new AsyncDisposableStack();
const scratch = await mkdtemp(join(tmpdir(), 'berth-bench-gateway-'));
cleanup.defer(() => rm(scratch, { recursive: true, force: true }));
const contents = (): Record<string, FileSpec> =>
  Object.fromEntries(
    Array.from({ length: files }, (_, index) => [`file-${index}.bin`, randomBytes(2 ** 20)]),
  );
const repository = createRepository(scratch, 'bench/gateway', contents());
const server = await startGitServer({ root: scratch, token });
cleanup.defer(() => server.close());

const child = spawn(
  process.execPath,
  [...flags, join(import.meta.dirname, 'gateway-process.ts'), server.url, token],
  { stdio: ['pipe', 'pipe', 'inherit'] },
);
cleanup.defer(async () => {
  child.stdin.end();
  await once(child, 'exit');
});
const [gatewayUrl] = (await once(createInterface(child.stdout), 'line')) as [string];
const basic = Buffer.from(`x:${token}`).toString('base64');
const urls = { git: `${server.url}/bench/gateway`, gateway: `${gatewayUrl}/bench/gateway` };
/** Without this header git would first send a request without a login. */
const login = { git: ['-c', `http.extraHeader=Authorization: Basic ${basic}`], gateway: [] };

async function git(cwd: string, ...given: string[]): Promise<number> {
  const started = performance.now();
  const run = spawn('git', given, {
    cwd,
    env: gitEnvironment(),
    timeout: patience,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  run.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const [code, signal] = await once(run, 'close');
  if (code !== 0) throw new Error(`git ${given.join(' ')} failed: ${signal ?? errors}`);
  return performance.now() - started;
}

const rounds = Number(/rounds=(\d+)/.exec(process.argv.join(' '))?.[1] ?? 3);
const times = new Map<string, number[]>();
const note = (key: string, value: number) => times.set(key, [...(times.get(key) ?? []), value]);
/** Milliseconds of CPU time of the gateway so far; the kernel counts in hundredths of a second. */
const cpu = (): number => {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
};
/** Runs git and notes its time; for the gateway also the CPU time. */
async function measure(operation: string, way: (typeof ways)[number], ...given: string[]) {
  const [cwd = '', ...rest] = given;
  const before = cpu();
  const time = await git(cwd, ...login[way], ...rest);
  note(`${operation} ${way}`, time);
  if (way === 'gateway') note(`${operation} cpu`, cpu() - before);
  process.stderr.write(`${operation} ${way}: ${Math.round(time)} ms\n`);
}
const rss = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024;
const atRest = rss();
let highest = 0;
const sampling = setInterval(() => {
  highest = Math.max(highest, rss());
}, 50);
cleanup.defer(async () => clearInterval(sampling));

const clones = { git: join(scratch, 'git'), gateway: join(scratch, 'gateway') };
for (const way of ways) {
  await git(scratch, ...login[way], 'clone', '--quiet', urls[way], clones[way]);
  await git(clones[way], ...login[way], 'push', '--quiet', 'origin', `HEAD:berth/${way}`);
}
for (let round = 0; round < rounds; round++) {
  const inTurn = round % 2 === 0 ? ways : ways.toReversed();
  for (const way of inTurn) {
    const into = join(scratch, `clone-${way}`);
    await measure('clone', way, scratch, 'clone', '--quiet', '--bare', urls[way], into);
    await rm(into, { recursive: true });
  }
  repository.commit({ 'small.md': `# ${round}\n` });
  for (const way of inTurn) {
    await measure('fetch', way, clones[way], 'fetch', '--quiet', 'origin', 'main');
  }
  for (const way of inTurn) {
    const cwd = clones[way];
    await writeFile(join(cwd, 'large.bin'), randomBytes(files * 2 ** 20));
    await git(cwd, 'add', '.');
    await git(cwd, 'commit', '--quiet', '-m', `round ${round}`);
    await measure('push', way, cwd, 'push', '--quiet', 'origin', `HEAD:berth/${way}`);
  }
}

const median = (operation: string, way: string) =>
  quantile(times.get(`${operation} ${way}`) ?? [], 0.5);
const figures = operations.flatMap((operation): Figure[] => [
  ...ways.map((way) => ({
    name: `${operation}, ${way === 'git' ? 'git straight' : 'through the gateway'}`,
    value: median(operation, way),
    unit: 'ms',
  })),
  {
    name: `${operation}, gateway / git`,
    value: median(operation, 'gateway') / median(operation, 'git'),
    unit: '',
    target: most,
  },
  { name: `${operation}, CPU time of the gateway`, value: median(operation, 'cpu'), unit: 'ms' },
]);
report('The gateway; medians, interleaved', [
  ...figures,
  { name: 'memory of the gateway at its start', value: atRest, unit: 'MB', target: 90 },
  { name: 'highest memory of the gateway', value: highest, unit: 'MB' },
]);
