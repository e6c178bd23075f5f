import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { testDirectory } from '../../support/directory.ts';
import { compiledCode } from '../../support/programs.ts';
import { until } from '../../support/until.ts';

// Each test has processes and a folder of its own, and waits most of the time.
t.jobs = 7;

const program = join(import.meta.dirname, '../../support/lease-holder.ts');
const isLinux = process.platform === 'linux';
const canUnshare = isLinux && spawnSync('unshare', ['--net', 'true']).status === 0;

interface HolderOptions {
  /** Milliseconds; long where nothing may depend on it. */
  expiry: number;
  /** Milliseconds by which its time of day is wrong. */
  clock?: number;
  /** As if it ran on another node. */
  alone?: boolean;
  /** In a network namespace of its own, as another pod has. */
  elsewhere?: boolean;
}

/** Goes after the processes that work in it: tap removes it before, unless a teardown was there first. */
function directoryFor(t: Test, content: Parameters<Test['testdir']>[0] = {}): string {
  return testDirectory(t, content);
}

/** A process that wants the lease. */
function startHolder(t: Test, directory: string, options: HolderOptions) {
  const { expiry, clock = 0, alone, elsewhere } = options;
  const rest = [directory, String(expiry), String(clock), ...(alone ? ['alone'] : [])];
  const [file = '', ...words] = [...(elsewhere ? ['unshare', '--net'] : []), process.execPath];
  const child = spawn(file, [...words, program, ...rest], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, ...compiledCode },
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
  { skip: !isLinux && 'needs Linux' },
  async (t) => {
    const directory = directoryFor(t);
    const dead = startHolder(t, directory, { expiry: 60_000 });
    await dead.held();
    dead.signal('SIGKILL');
    await dead.exited;
    const next = startHolder(t, directory, { expiry: 60_000 });
    await next.held();
    t.equal(await next.say('publish'), 'published');
  },
);

t.test(
  'a suspended holder keeps the lease, and the other program waits',
  { skip: !isLinux && 'needs Linux' },
  async (t) => {
    const directory = directoryFor(t);
    const holder = startHolder(t, directory, { expiry: 60_000 });
    const held = await holder.held();
    holder.signal('SIGSTOP');
    const other = startHolder(t, directory, { expiry: 60_000 });
    await other.waits();
    t.strictSame(other.lines, ['waiting']);
    holder.signal('SIGCONT');
    t.equal(await holder.say('publish'), 'published');
    t.match(held, ownerIn(directory));
  },
);

t.test(
  'a lease whose holder runs in another pod is not taken over',
  { skip: !canUnshare && 'needs a network namespace of its own: root and unshare' },
  async (t) => {
    const directory = directoryFor(t);
    const holder = startHolder(t, directory, { expiry: 60_000, elsewhere: true });
    await holder.held();
    const other = startHolder(t, directory, { expiry: 60_000 });
    await other.waits();
    t.equal(await holder.say('publish'), 'published');
    t.strictSame(other.lines, ['waiting']);
    await holder.release();
    await other.held();
  },
);

t.test('on another node a dead one is waited for until its heartbeat is old', async (t) => {
  const directory = directoryFor(t);
  const dead = startHolder(t, directory, { expiry: 1_000, alone: true });
  await dead.held();
  dead.signal('SIGKILL');
  await dead.exited;
  const started = performance.now();
  const next = startHolder(t, directory, { expiry: 1_000, alone: true });
  await next.held();
  t.ok(performance.now() - started >= 1_000);
});

t.test('a holder that wakes after its lease has expired publishes nothing', async (t) => {
  const directory = directoryFor(t);
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

t.test(
  'if many programs wait for the lease of a dead holder, exactly one program wins',
  async (t) => {
    const directory = directoryFor(t);
    const path = join(directory, 'lease.json');
    writeFileSync(path, '{"version":1,"owner":"dead","holder":"init on gone","beat":3}');
    const waiting = Array.from({ length: 4 }, () => startHolder(t, directory, { expiry: 6_000 }));
    const winners = () =>
      waiting.flatMap(({ lines }) => lines.filter((line) => line !== 'waiting'));
    await until('one holds it', () => winners().length > 0);
    // The others have all seen the dead one expire by then, and now see another that lives.
    await until('it has beaten', () => JSON.parse(readFileSync(path, 'utf8')).beat > 1);
    t.equal(winners().length, 1);
    t.match(winners()[0], ownerIn(directory));
  },
);

const year = 365 * 24 * 3_600_000;

t.test('neither clocks nor the times of files mean anything', async (t) => {
  const directory = directoryFor(t, { back: {}, ahead: {} });
  const expiry = 4_000;
  const start = async (name: string, clock: number) => {
    const place = join(directory, name);
    const holder = startHolder(t, place, { expiry, clock, alone: true });
    await holder.held();
    const other = startHolder(t, place, { expiry, clock: -clock, alone: true });
    await other.waits();
    return { name, clock, place, holder, other };
  };
  const compete = async ({
    name,
    clock,
    place,
    holder,
    other,
  }: Awaited<ReturnType<typeof start>>) => {
    const started = performance.now();
    await until('longer than a lease lives', () => {
      setTime(join(place, 'lease.json'), Date.now() - clock);
      return performance.now() - started > expiry + 1_000;
    });
    t.strictSame(other.lines, ['waiting'], `${name}: a live one stays`);
    holder.signal('SIGKILL');
    await other.held();
    t.pass(`${name}: a dead one is taken over`);
  };
  // One process starts at a time: a start takes time from the heartbeats of the others.
  const pairs = [await start('back', -40 * year), await start('ahead', 100 * year)];
  await Promise.all(pairs.map(compete));
});

/** Makes the file look that old, or not yet written. */
function setTime(path: string, milliseconds: number): void {
  try {
    utimesSync(path, milliseconds / 1_000, milliseconds / 1_000);
  } catch {
    // Replaced by a heartbeat just now.
  }
}
