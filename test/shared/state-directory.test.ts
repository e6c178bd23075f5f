import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { acquireLease } from '../../shared/lease.ts';
import { openStateDirectory } from '../../shared/state-directory.ts';
import { captureLog } from '../init/fixture.ts';
import { testDirectory } from '../support/directory.ts';

t.test('the state directory is made, and closed to others', async (t) => {
  const state = join(testDirectory(t), '.berth');
  const { log, lines } = captureLog();
  await openStateDirectory(state, log);
  await openStateDirectory(state, log);
  t.equal(statSync(state).mode & 0o777, 0o700);
  t.strictSame(lines, []);
});

t.test('a file or a symlink in its place is set aside, not followed', async (t) => {
  for (const plant of [
    (path: string) => writeFileSync(path, 'planted'),
    (path: string) => symlinkSync('outside', path),
  ]) {
    const directory = testDirectory(t, { outside: {} });
    const state = join(directory, '.berth');
    plant(state);
    const { log, lines } = captureLog();
    await openStateDirectory(state, log);
    t.ok(lstatSync(state).isDirectory());
    t.match(lines, [{ event: 'volume_repaired', level: 'warn' }]);
    t.ok(lstatSync(String(lines[0]?.saved)), 'it is not lost');
    t.strictSame(readdirSync(join(directory, 'outside')), []);
  }
});

t.test(
  'files and symlinks in place of state files are set aside, and the lease can be taken',
  async (t) => {
    const state = testDirectory(t, { outside: {}, conflicts: 'planted', base: 'planted' });
    mkdirSync(join(state, 'lease.json/full'), { recursive: true });
    symlinkSync('outside', join(state, 'sessions'));
    symlinkSync('outside/x', join(state, 'last-good-credentials.json'));
    const { log, lines } = captureLog();
    await openStateDirectory(state, log, { directories: ['base'], files: ['report.json'] });
    const repaired = lines.map(({ path }) => String(path).replace(/.*\/(.*)\.aside-.*/, '$1'));
    const expected = ['base', 'conflicts', 'last-good-credentials.json', 'lease.json', 'sessions'];
    t.strictSame(repaired.sort(), expected);
    const sessions = lines.find(({ path }) => String(path).includes('/sessions.aside-'));
    t.equal(readlinkSync(String(sessions?.saved)), 'outside');
    t.notOk(existsSync(join(state, 'sessions')));
    const { signal } = new AbortController();
    const lease = await acquireLease({ directory: state, program: 'serve', log, signal });
    await lease.assertHeld();
    await lease.release();
  },
);

t.test("several programs that repair it at once are not in each other's way", async (t) => {
  const state = testDirectory(t, { conflicts: {} });
  symlinkSync('outside', join(state, 'sessions'));
  const { log, lines } = captureLog();
  await Promise.all(Array.from({ length: 8 }, () => openStateDirectory(state, log)));
  t.equal(lines.length, 1);
});

t.test('if the state directory cannot be created, the error is volume_unwritable', async (t) => {
  const { log } = captureLog();
  const state = join(testDirectory(t, { file: 'x' }), 'file/.berth');
  await t.rejects(openStateDirectory(state, log), { code: 'volume_unwritable' });
});
