import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { until } from '../support/until.ts';

const program = join(import.meta.dirname, '../support/lease-holder.ts');
const isLinux = process.platform === 'linux';

interface HolderOptions {
  /** Milliseconds; long where nothing may depend on it. */
  expiry: number;
  /** Milliseconds by which its time of day is wrong. */
  clock?: number;
  /** As if it ran on another node. */
  alone?: boolean;
}

/** A process that wants the lease. */
function startHolder(t: Test, directory: string, { expiry, clock = 0, alone }: HolderOptions) {
  const rest = [directory, String(expiry), String(clock), ...(alone ? ['alone'] : [])];
  const child = spawn(process.execPath, [program, ...rest], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH ?? '' },
  });
  const exited = once(child, 'exit');
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  return {
    lines,
    exited,
    signal: (name: NodeJS.Signals) => child.kill(name),
    waits: () => until('the process waits', () => lines.includes('waiting')),
    held: () =>
      until('the process holds the lease', () => lines.find((line) => line.startsWith('held'))),
    async say(line: string): Promise<string | undefined> {
      const before = lines.length;
      child.stdin.write(`${line}\n`);
      return until('it answers', () => lines[before]);
    },
    release: async () => {
      child.stdin.write('release\n');
      await exited;
    },
  };
}

const ownerIn = (directory: string) =>
  JSON.parse(readFileSync(join(directory, 'lease.json'), 'utf8')).owner;

t.test(
  'a holder that was killed in the same pod is not waited for',
  { skip: !isLinux },
  async (t) => {
    const directory = t.testdir();
    const dead = startHolder(t, directory, { expiry: 60_000 });
    await dead.held();
    dead.signal('SIGKILL');
    await dead.exited;
    const next = startHolder(t, directory, { expiry: 60_000 });
    await next.held();
    t.equal(await next.say('publish'), 'published');
  },
);

t.test('one that is only suspended is waited for', { skip: !isLinux }, async (t) => {
  const directory = t.testdir();
  const holder = startHolder(t, directory, { expiry: 60_000 });
  const held = await holder.held();
  holder.signal('SIGSTOP');
  const other = startHolder(t, directory, { expiry: 60_000 });
  await other.waits();
  t.strictSame(other.lines, ['waiting']);
  holder.signal('SIGCONT');
  t.equal(await holder.say('publish'), 'published');
  t.match(held, ownerIn(directory));
});

t.test('on another node a dead one is waited for until its heartbeat is old', async (t) => {
  const directory = t.testdir();
  const dead = startHolder(t, directory, { expiry: 1_000, alone: true });
  await dead.held();
  dead.signal('SIGKILL');
  await dead.exited;
  const started = performance.now();
  const next = startHolder(t, directory, { expiry: 1_000, alone: true });
  await next.held();
  t.ok(performance.now() - started >= 1_000);
});

t.test('a holder that wakes after its lease has gone publishes nothing', async (t) => {
  const directory = t.testdir();
  const sleeper = startHolder(t, directory, { expiry: 500, alone: true });
  await sleeper.held();
  sleeper.signal('SIGSTOP');
  const next = startHolder(t, directory, { expiry: 500, alone: true });
  await next.held();
  t.equal(await next.say('publish'), 'published');
  const owner = ownerIn(directory);
  sleeper.signal('SIGCONT');
  t.equal(await sleeper.say('publish'), 'refused');
  t.equal(readFileSync(join(directory, 'published'), 'utf8'), owner);
  t.equal(ownerIn(directory), owner, 'and leaves the lease to the other');
  await sleeper.release();
  t.equal(ownerIn(directory), owner, 'also when it ends');
});

t.test('of many who wait for a dead one exactly one wins', async (t) => {
  const directory = t.testdir();
  const path = join(directory, 'lease.json');
  writeFileSync(path, '{"version":1,"owner":"dead","holder":"init on gone","beat":3}');
  const waiting = Array.from({ length: 4 }, () => startHolder(t, directory, { expiry: 2_000 }));
  const winners = () => waiting.flatMap(({ lines }) => lines.filter((line) => line !== 'waiting'));
  await until('one holds it', () => winners().length > 0);
  const beat = () => JSON.parse(readFileSync(path, 'utf8')).beat;
  await until('it has beaten for longer than a lease lives', () => beat() > 6);
  t.equal(winners().length, 1);
  t.match(winners()[0], ownerIn(directory));
});

const year = 365 * 24 * 3_600_000;
for (const [what, clock] of [
  ['forty years back', -40 * year],
  ['a hundred years ahead', 100 * year],
] as const) {
  t.test(`clocks and the times of files mean nothing: ${what}`, async (t) => {
    const directory = t.testdir();
    const path = join(directory, 'lease.json');
    const holder = startHolder(t, directory, { expiry: 2_000, clock, alone: true });
    await holder.held();
    const other = startHolder(t, directory, { expiry: 2_000, clock: -clock, alone: true });
    await other.waits();
    const started = performance.now();
    await until('longer than a lease lives', () => {
      setTime(path, Date.now() - clock);
      return performance.now() - started > 3_000;
    });
    t.strictSame(other.lines, ['waiting'], 'a live one stays');
    holder.signal('SIGKILL');
    await other.held();
    t.pass('a dead one is taken over');
  });
}

/** Makes the file look that old, or not yet written. */
function setTime(path: string, milliseconds: number): void {
  try {
    utimesSync(path, milliseconds / 1_000, milliseconds / 1_000);
  } catch {
    // Replaced by a heartbeat just now.
  }
}
