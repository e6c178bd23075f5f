import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { writeFileAtomic } from '../../shared/files.ts';
import { acquireLease, type LeaseOptions } from '../../shared/lease.ts';
import { captureLog } from '../init/fixture.ts';
import { testDirectory } from '../support/directory.ts';
import { cannotMount } from '../support/small-volume.ts';
import { until } from '../support/until.ts';

/** A lease that is held; each test gives it back before its directory goes. */
async function hold(t: Test, options: Partial<LeaseOptions> = {}) {
  const directory = join(testDirectory(t), 'state');
  const path = join(directory, 'lease.json');
  const { log, lines } = captureLog();
  const { signal } = new AbortController();
  const times = { heartbeat: 20, expiry: 30_000 };
  const all = { directory, program: 'serve', log, signal, ...times, ...options };
  const lease = await acquireLease(all);
  const owner = () => JSON.parse(readFileSync(path, 'utf8')).owner;
  const events = () => lines.map(({ event }) => event);
  return { directory, path, lines, events, lease, owner };
}

/** Puts a directory where the lease is: it cannot be read, and cannot be renewed. */
function obstruct(path: string): void {
  rmSync(path, { force: true });
  mkdirSync(path);
}

t.test(
  'the holder writes a vanished lease again, and no other program gets the lease',
  async (t) => {
    const { directory, path, lease, owner, events } = await hold(t);
    const before = owner();
    for (const what of [path, directory]) {
      renameSync(what, `${directory}.gone`);
      rmSync(`${directory}.gone`, { recursive: true });
      await lease.assertHeld();
      t.equal(owner(), before);
    }
    rmSync(path);
    await until('a heartbeat makes it again', () => existsSync(path));
    t.equal(lease.lost.aborted, false);
    t.notOk(events().includes('lease_lost'));
    await lease.release();
  },
);

t.test('a lease that vanished while its holder slept past the expiry is lost', async (t) => {
  const { path, lease } = await hold(t, { expiry: 200 });
  rmSync(path);
  sleep(250);
  await t.rejects(lease.assertHeld(), {
    code: 'lease_held',
    message: /lease\.json has vanished, and the lease has not been renewed for 200 ms/,
  });
  t.notOk(existsSync(path));
  await lease.release();
});

t.test('an unreadable lease is read again', async (t) => {
  const { path, lease } = await hold(t);
  const before = readFileSync(path);
  obstruct(path);
  let answered = false;
  const held = lease.assertHeld().then(() => {
    answered = true;
  });
  const started = performance.now();
  await until('a few looks later', () => performance.now() - started > 100);
  t.notOk(answered);
  rmdirSync(path);
  await held;
  t.notOk(lease.lost.aborted);
  t.equal(JSON.parse(readFileSync(path, 'utf8')).owner, JSON.parse(String(before)).owner);
  await lease.release();
});

t.test(
  'a lease file that stays unreadable until it expires is lost; the error names the missed renewal',
  async (t) => {
    const unreadable = { 'a directory': undefined, torn: '{"version":1,"ow', 'of nobody': '{}' };
    for (const [what, content] of Object.entries(unreadable)) {
      const { path, lease, lines } = await hold(t, { expiry: 300 });
      while (!lease.lost.aborted) {
        if (content !== undefined) writeFileSync(path, content);
        else if (!existsSync(path) || readsAsFile(path)) obstruct(path);
        await new Promise((resolve) => setImmediate(resolve));
      }
      const reason = { code: 'lease_held', message: /the lease has not been renewed for 300 ms/ };
      t.match(lease.lost.reason, reason, what);
      t.notMatch(lease.lost.reason.message, /took the lease over/);
      t.match(
        lines.filter(({ event }) => event === 'lease_lost'),
        [{ msg: 'this program has lost the lease on the volume' }],
      );
      await lease.release();
      rmSync(path, { recursive: true, force: true });
    }
  },
);

t.test(
  'a lease taken by another owner is lost at once, whatever the version of the record',
  async (t) => {
    const { path, lease } = await hold(t);
    const other = { version: 2, owner: 'other', holder: 'a newer one', beats: [1] };
    // The heartbeat may be just under way and replace it once.
    while (!lease.lost.aborted) {
      writeFileSync(path, JSON.stringify(other));
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.match(lease.lost.reason.message, /took the lease over/);
    await lease.release();
  },
);

t.test('the release of an unreadable lease does not fail, and a warning is logged', async (t) => {
  const { path, lease, lines } = await hold(t);
  obstruct(path);
  await Promise.all([lease.release(), lease.release()]);
  t.match(
    lines.filter(({ event }) => event === 'lease_left'),
    [{ level: 'warn', error: { code: 'volume_unwritable', message: /not a regular file/ } }],
  );
  await t.rejects(lease.assertHeld(), { code: 'lease_held', message: /was released/ });
});

function readsAsFile(path: string): boolean {
  try {
    return readFileSync(path) !== undefined;
  } catch {
    return false;
  }
}

/** As a process does that is suspended. */
function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

t.test(
  'a holder whose volume was removed while it is mounted loses the lease',
  { skip: cannotMount },
  async (t) => {
    const root = testDirectory(t, { removed: {}, volume: {} });
    const volume = join(root, 'volume');
    execFileSync('mount', ['--bind', join(root, 'removed'), volume]);
    using _mount = {
      [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', volume]),
    };
    const lease = await acquireLease({
      ...{ directory: join(volume, 'state'), program: 'serve', log: captureLog().log },
      ...{ signal: new AbortController().signal, heartbeat: 20, expiry: 300 },
    });
    rmSync(join(root, 'removed'), { recursive: true });
    await t.rejects(writeFileAtomic(join(volume, 'state/x.json'), 'x'), {
      code: 'volume_unwritable',
      message: /ENOENT/,
    });
    await until('the lease is lost', () => lease.lost.aborted);
    t.match(lease.lost.reason, { code: 'lease_held', message: /has not been renewed/ });
    await lease.release().catch(() => undefined);
  },
);
