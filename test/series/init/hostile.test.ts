import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openHarbour, walk } from '../../init/fixture.ts';

t.test('reserved paths of the repository are skipped and named', async (t) => {
  const harbour = await openHarbour(t, {
    'CLAUDE.md': 'x',
    '.credentials.json': 'stolen',
    '.CREDENTIALS.json': 'stolen',
    '.claude.json': '{}',
    '.berth/applied.json': '{}',
    'a\\b': 'backslash',
  });
  t.match(await harbour.run(), { written: 1, skipped: 5 });
  t.strictSame(harbour.tree(), { 'CLAUDE.md': 'x' });
  t.strictSame(
    harbour
      .events('path_skipped')
      .map(({ path }) => path)
      .sort(),
    ['.CREDENTIALS.json', '.berth/applied.json', '.claude.json', '.credentials.json', 'a\\b'],
  );
  t.match(await harbour.run(), { written: 0, skipped: 5 });
});

t.test('symlinks inside the volume are made, others are not', async (t) => {
  const harbour = await openHarbour(t, {
    'docs/real.md': 'real',
    'docs/link.md': { symlink: 'real.md' },
    'up.md': { symlink: 'docs/../../outside' },
    'absolute.md': { symlink: '/etc/passwd' },
    'login.md': { symlink: '.credentials.json' },
    'docs/root': { symlink: '..' },
  });
  t.match(await harbour.run(), { written: 2, skipped: 4 });
  t.strictSame(harbour.tree(), {
    'docs/link.md': '-> real.md',
    'docs/real.md': 'real',
  });
  const asked = harbour.server.requests.length;
  t.match(await harbour.run(), { written: 0, skipped: 4 });
  t.equal(harbour.server.requests.length, asked + 1, 'nothing is fetched to know that again');
});

t.test('a symlink planted in the place of a directory is moved aside, not followed', async (t) => {
  const harbour = await openHarbour(t, { 'docs/a.md': 'a', 'docs/b.md': 'b' });
  await harbour.run();
  const outside = join(harbour.directory, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'a.md'), 'outside');
  rmSync(join(harbour.volume, 'docs'), { recursive: true });
  symlinkSync(outside, join(harbour.volume, 'docs'));
  await harbour.run();
  t.strictSame(harbour.tree(), { 'docs/a.md': 'a', 'docs/b.md': 'b' });
  t.equal(readFileSync(join(outside, 'a.md'), 'utf8'), 'outside');
  t.notOk(existsSync(join(outside, 'b.md')));
  t.strictSame(harbour.conflicts(), ['docs']);
});

t.test('a symlink planted in the place of a file is replaced, not followed', async (t) => {
  const harbour = await openHarbour(t, { 'settings.json': '{}' });
  await harbour.run();
  const outside = join(harbour.directory, 'outside.json');
  writeFileSync(outside, 'outside');
  rmSync(join(harbour.volume, 'settings.json'));
  symlinkSync(outside, join(harbour.volume, 'settings.json'));
  t.match(await harbour.run(), { restored: 1, conflicts: 1 });
  t.strictSame(harbour.tree(), { 'settings.json': '{}' });
  t.equal(readFileSync(outside, 'utf8'), 'outside');
});

t.test('a file that becomes a directory upstream, and the reverse, need no help', async (t) => {
  const harbour = await openHarbour(t, { a: 'file', 'b/c/d.md': 'deep', 'b/e.md': 'e' });
  await harbour.run();
  harbour.repository.commit({ a: null, 'b/c/d.md': null, 'b/e.md': null });
  harbour.repository.commit({ 'a/x.md': 'x', b: 'file' });
  t.match(await harbour.run(), { conflicts: 0 });
  t.strictSame(harbour.tree(), { 'a/x.md': 'x', b: 'file' });
});

t.test('a directory with files of others in the place of a file is saved whole', async (t) => {
  const harbour = await openHarbour(t, { 'a.md': 'upstream' });
  await harbour.run();
  rmSync(join(harbour.volume, 'a.md'));
  mkdirSync(join(harbour.volume, 'a.md/sub'), { recursive: true });
  writeFileSync(join(harbour.volume, 'a.md/sub/mine'), 'mine');
  t.match(await harbour.run(), { restored: 1 });
  t.strictSame(harbour.tree(), { 'a.md': 'upstream' });
  t.strictSame(harbour.conflicts(), ['a.md/sub/mine']);
});

t.test('submodules and LFS pointers are logged', async (t) => {
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n';
  const harbour = await openHarbour(t, {
    'big.bin': pointer,
    module: { submodule: '1234567890123456789012345678901234567890' },
  });
  t.match(await harbour.run(), { written: 1, skipped: 1 });
  t.match(harbour.events('lfs_pointer'), [{ path: 'big.bin' }]);
  t.match(harbour.events('path_skipped'), [{ path: 'module' }]);
});

t.test('a forged record cannot make planted executable configuration stay', async (t) => {
  const harbour = await openHarbour(t, { 'settings.json': '{}', 'CLAUDE.md': 'x' });
  await harbour.run();
  const { execFileSync } = await import('node:child_process');
  const planted = join(harbour.volume, 'settings.json');
  writeFileSync(planted, '{"hooks":"evil"}');
  const oid = execFileSync('git', ['hash-object', planted], { encoding: 'utf8' }).trim();
  const record = join(harbour.volume, '.berth/applied.json');
  const json = JSON.parse(readFileSync(record, 'utf8'));
  const { size, mtimeMs, ino } = lstatSync(planted);
  json.entries['settings.json'] = { mode: '100644', oid, size, mtime: mtimeMs, inode: ino };
  writeFileSync(record, JSON.stringify(json));
  await harbour.run();
  t.equal(harbour.read('settings.json'), '{}');
});

t.test('a record with outside or reserved paths changes no file at these paths', async (t) => {
  const harbour = await openHarbour(t, { 'CLAUDE.md': 'x' });
  await harbour.run();
  writeFileSync(join(harbour.directory, 'victim'), 'victim');
  writeFileSync(join(harbour.volume, '.claude.json'), '{"mine":1}');
  const record = join(harbour.volume, '.berth/applied.json');
  const json = JSON.parse(readFileSync(record, 'utf8'));
  const entry = { mode: '100644', oid: '0'.repeat(40) };
  Object.assign(json.entries, { '../../victim': entry, '.claude.json': entry, '/etc/x': entry });
  writeFileSync(record, JSON.stringify(json));
  await harbour.run();
  t.equal(readFileSync(join(harbour.directory, 'victim'), 'utf8'), 'victim');
  t.match(JSON.parse(harbour.read('.claude.json') ?? ''), { mine: 1 });
});

t.test('settings planted in the git directory do not move the token', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  const thief: string[] = [];
  const { createServer } = await import('node:http');
  const server = createServer((request, response) => {
    thief.push(request.headers.authorization ?? 'no token');
    response.end();
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  writeFileSync(
    join(harbour.volume, '.berth/git/config'),
    `[http]\n\tcorsProxy = http://127.0.0.1:${port}\n[remote "origin"]\n\turl = http://127.0.0.1:${port}/x\n`,
  );
  harbour.repository.commit({ 'CLAUDE.md': 'two' });
  await harbour.run();
  t.equal(harbour.read('CLAUDE.md'), 'two');
  t.strictSame(thief, []);
});

t.test('a symlink inside the git directory makes it be fetched again', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  const outside = join(harbour.directory, 'outside');
  mkdirSync(join(outside, 'pack'), { recursive: true });
  // Named as what a run that was cut short leaves in such a directory.
  writeFileSync(join(outside, 'pack/tmp-0123456789ab'), 'mine');
  rmSync(join(harbour.volume, '.berth/git/objects'), { recursive: true });
  symlinkSync(outside, join(harbour.volume, '.berth/git/objects'));
  harbour.repository.commit({ 'CLAUDE.md': 'two' });
  await harbour.run();
  t.equal(harbour.read('CLAUDE.md'), 'two');
  t.strictSame(walk(outside), ['pack/tmp-0123456789ab']);
  t.notOk(lstatSync(join(harbour.volume, '.berth/git/objects')).isSymbolicLink());
});

t.test("a symlink in the place of berth's state is set aside", async (t) => {
  const harbour = await openHarbour(t);
  const outside = join(harbour.directory, 'outside');
  mkdirSync(outside);
  symlinkSync(outside, join(harbour.volume, '.berth'));
  await harbour.run();
  t.ok(lstatSync(join(harbour.volume, '.berth')).isDirectory());
  t.notOk(existsSync(join(outside, 'applied.json')));
  const [saved] = harbour.conflicts();
  t.match(saved, /^\.berth\.aside-/);
  t.equal(
    harbour.events('volume_repaired').map(({ saved }) => readlinkSync(String(saved)))[0],
    outside,
  );
});

t.test("directories in the place of berth's own files are set aside", async (t) => {
  const harbour = await openHarbour(t);
  const names = ['lease.json', 'applied.json', 'report.json', 'credentials.json'];
  for (const name of names)
    mkdirSync(join(harbour.volume, '.berth', name, 'x'), { recursive: true });
  t.match(await harbour.run(), { written: 2 });
  for (const name of ['applied.json', 'report.json']) {
    t.ok(lstatSync(join(harbour.volume, '.berth', name)).isFile(), name);
  }
});
