import { chownSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { takeOwnership } from '../../init/ownership.ts';
import { captureLog, openHarbour, walk } from './fixture.ts';
import { canChangeUser, runProgram } from './process.ts';

const skip = canChangeUser ? false : 'needs root and setpriv';
const owner = { uid: 1000, gid: 1000 };
const { signal } = new AbortController();

t.test('as root, everything that others own is given to the user', { skip }, async (t) => {
  const directory = t.testdir({ volume: { a: { 'b.md': 'b' } }, outside: { c: 'c' } });
  const volume = join(directory, 'volume');
  symlinkSync(join(directory, 'outside'), join(volume, 'link'));
  chownSync(join(volume, 'a'), 1000, 1000);
  const { log, lines } = captureLog();
  t.equal(await takeOwnership([volume], owner, { signal, log }), 3, 'root, link and b.md');
  for (const path of ['', 'a', 'a/b.md', 'link']) {
    t.match(lstatSync(join(volume, path)), owner, path || 'the volume itself');
  }
  t.equal(lstatSync(join(directory, 'outside/c')).uid, 0, 'nothing behind the symlink');
  t.equal(await takeOwnership([volume], owner, { signal, log }), 0, 'and no more the next time');
  t.match(lines, [{ event: 'ownership_changed', changed: 3 }]);
});

t.test('as root, a run leaves everything to the user', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  for (const path of ['', '.berth', ...walk(harbour.volume)]) {
    t.match(lstatSync(join(harbour.volume, path)), owner, path);
  }
  t.match(await harbour.run(), { owned: 0 });
});

t.test('as the user, a run needs no rights but its own', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  chownSync(harbour.volume, 1000, 1000);
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 0);
  t.match(lines.at(-1), { event: 'report', written: 2, owned: 0 });
  t.match(lstatSync(join(harbour.volume, 'CLAUDE.md')), owner);
});

t.test('as the user, a volume of root is refused with the remedy', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  writeFileSync(join(harbour.directory, 'termination-log'), '');
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 73);
  t.match(lines.at(-1), { event: 'failed', msg: /set fsGroup to the gid/ });
});

t.test('as the user, a directory of root on the volume is told', { skip }, async (t) => {
  const harbour = await openHarbour(t, { 'docs/a.md': 'a' });
  chownSync(harbour.volume, 1000, 1000);
  mkdirSync(join(harbour.volume, 'docs'), { mode: 0o755 });
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 73);
  t.match(lines.at(-1), { event: 'failed', code: 'volume_unwritable', msg: /docs.*fsGroup/ });
});
