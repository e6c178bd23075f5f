import { mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openHarbour } from '../fixture.ts';

t.test('a first run writes every tracked file with its mode', async (t) => {
  const harbour = await openHarbour(t, {
    'CLAUDE.md': '# one\n',
    'hooks/check.sh': { content: '#!/bin/sh\n', mode: '100755' },
    'docs/deep/er.md': 'deep\n',
  });
  const report = await harbour.run();
  t.strictSame(harbour.tree(), {
    'CLAUDE.md': '# one\n',
    'docs/deep/er.md': 'deep\n',
    'hooks/check.sh': '#!/bin/sh\n',
  });
  t.equal(statSync(join(harbour.volume, 'hooks/check.sh')).mode & 0o777, 0o755);
  t.equal(statSync(join(harbour.volume, 'CLAUDE.md')).mode & 0o777, 0o644);
  t.match(report, { written: 3, commit: harbour.repository.head(), volume: 'empty', conflicts: 0 });
});

t.test('a run over an unchanged volume fetches nothing and writes nothing', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  const before = statSync(join(harbour.volume, '.berth/applied.json'));
  const asked = harbour.server.requests.length;
  t.match(await harbour.run(), { written: 0, removed: 0, volume: 'complete', owned: 0 });
  t.equal(statSync(join(harbour.volume, '.berth/applied.json')).ino, before.ino);
  const paths = harbour.server.requests.slice(asked).map(({ method, path }) => `${method} ${path}`);
  t.strictSame(
    paths.map((path) => path.replace(/^(\S+) .*\/(info|git)/, '$1 $2')),
    ['GET info/refs?service=git-upload-pack'],
    'the refs are asked, in one request',
  );
});

t.test(
  'an update writes changed files, removes files deleted upstream and keeps all others',
  async (t) => {
    const harbour = await openHarbour(t, { 'a.md': 'a\n', 'old/b.md': 'b\n', 'c.md': 'c\n' });
    const first = await harbour.run();
    writeFileSync(join(harbour.volume, '.claude.json'), '{"mine":1}');
    mkdirSync(join(harbour.volume, 'projects/x'), { recursive: true });
    writeFileSync(join(harbour.volume, 'projects/x/1.jsonl'), 'transcript');
    harbour.repository.commit({ 'a.md': 'a2\n', 'old/b.md': null, 'new.md': 'new\n' });
    const report = await harbour.run();
    t.strictSame(harbour.tree(), {
      'a.md': 'a2\n',
      'c.md': 'c\n',
      'new.md': 'new\n',
      'projects/x/1.jsonl': 'transcript',
    });
    t.match(report, { written: 2, removed: 1, previous_commit: first.commit, conflicts: 0 });
    t.notOk(statSync(join(harbour.volume, 'old'), { throwIfNoEntry: false }), 'no empty directory');
  },
);

t.test('missing, emptied and NUL-filled files are restored', async (t) => {
  const harbour = await openHarbour(t, { 'a.md': 'aaaa\n', 'b.md': 'bbbb\n', 'c.md': 'cccc\n' });
  await harbour.run();
  rmSync(join(harbour.volume, 'a.md'));
  truncateSync(join(harbour.volume, 'b.md'));
  writeFileSync(join(harbour.volume, 'c.md'), Buffer.alloc(5));
  t.match(await harbour.run(), { written: 3, restored: 3, conflicts: 1, drift: 0 });
  t.strictSame(harbour.tree(), { 'a.md': 'aaaa\n', 'b.md': 'bbbb\n', 'c.md': 'cccc\n' });
  t.strictSame(harbour.conflicts(), ['c.md'], 'what had any content is saved');
});

t.test('an edit stays while upstream leaves the file alone', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  writeFileSync(join(harbour.volume, 'CLAUDE.md'), 'edited\n');
  t.match(await harbour.run(), { kept: 1, written: 0 });
  harbour.repository.commit({ 'other.md': 'x' });
  t.match(await harbour.run(), { kept: 1, written: 1 });
  t.equal(harbour.read('CLAUDE.md'), 'edited\n');
});

t.test('where both changed a file, upstream is taken and the local copy saved', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  writeFileSync(join(harbour.volume, 'CLAUDE.md'), 'edited\n');
  await harbour.run();
  harbour.repository.commit({ 'CLAUDE.md': '# two\n' });
  t.match(await harbour.run(), { kept: 0, conflicts: 1, drift: 0 });
  t.equal(harbour.read('CLAUDE.md'), '# two\n');
  t.strictSame(harbour.conflicts(), ['CLAUDE.md']);
});

t.test('an edit of a file that upstream deletes is saved', async (t) => {
  const harbour = await openHarbour(t, { 'a.md': 'a', 'b.md': 'b' });
  await harbour.run();
  writeFileSync(join(harbour.volume, 'a.md'), 'edited');
  harbour.repository.commit({ 'a.md': null });
  t.match(await harbour.run(), { removed: 1, conflicts: 1 });
  t.strictSame(harbour.tree(), { 'b.md': 'b' });
  t.strictSame(harbour.conflicts(), ['a.md']);
});

t.test('an edit of executable configuration never stays', async (t) => {
  const harbour = await openHarbour(t, {
    'settings.json': '{}\n',
    '.mcp.json': '{}\n',
    'hooks/a.sh': 'true\n',
  });
  await harbour.run();
  for (const path of ['settings.json', '.mcp.json', 'hooks/a.sh']) {
    writeFileSync(join(harbour.volume, path), 'evil');
  }
  t.match(await harbour.run(), { drift: 3, written: 3, conflicts: 3, kept: 0 });
  t.equal(harbour.read('settings.json'), '{}\n');
  t.equal(harbour.events('config_drift').length, 3);
  t.strictSame(harbour.conflicts(), ['.mcp.json', 'hooks/a.sh', 'settings.json']);
});

t.test('untracked executable configuration is reported and not touched', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  mkdirSync(join(harbour.volume, 'hooks'));
  writeFileSync(join(harbour.volume, 'hooks/planted.sh'), 'evil');
  t.match(await harbour.run(), { untracked_executable: 1, written: 0 });
  t.equal(harbour.read('hooks/planted.sh'), 'evil');
  t.match(harbour.events('config_drift'), [{ paths: ['hooks/planted.sh'] }]);
});

t.test("over another program's files, upstream is taken and what differs is saved", async (t) => {
  const harbour = await openHarbour(t, { 'CLAUDE.md': 'new\n', 'same.md': 'same\n' });
  writeFileSync(join(harbour.volume, 'CLAUDE.md'), 'old\n');
  writeFileSync(join(harbour.volume, 'same.md'), 'same\n');
  writeFileSync(join(harbour.volume, 'mine.md'), 'mine\n');
  t.match(await harbour.run(), { volume: 'foreign', written: 1, conflicts: 1 });
  t.strictSame(harbour.tree(), { 'CLAUDE.md': 'new\n', 'mine.md': 'mine\n', 'same.md': 'same\n' });
  t.strictSame(harbour.conflicts(), ['CLAUDE.md']);
});

t.test('a change of the executable bit alone is put right', async (t) => {
  const harbour = await openHarbour(t, { 'hooks/a.sh': { content: 'x', mode: '100755' } });
  await harbour.run();
  harbour.repository.commit({ 'hooks/a.sh': { content: 'x', mode: '100644' } });
  await harbour.run();
  t.equal(statSync(join(harbour.volume, 'hooks/a.sh')).mode & 0o777, 0o644);
  t.match(await harbour.run(), { written: 0 });
});

t.test('an edit that stays takes the mode that upstream gives the file', async (t) => {
  const harbour = await openHarbour(t, { 'tool.sh': 'x\n', 'notes.md': 'n\n' });
  await harbour.run();
  const path = join(harbour.volume, 'tool.sh');
  writeFileSync(path, 'mine\n');
  harbour.repository.commit({ 'tool.sh': { content: 'x\n', mode: '100755' } });
  t.match(await harbour.run(), { kept: 1, written: 0, conflicts: 0 });
  t.equal(harbour.read('tool.sh'), 'mine\n');
  t.equal(statSync(path).mode & 0o777, 0o755);
  t.match(await harbour.run(), { kept: 1, volume: 'complete' });
  harbour.repository.commit({ 'tool.sh': 'x\n' });
  await harbour.run();
  t.equal(statSync(path).mode & 0o777, 0o644);
  t.equal(harbour.read('tool.sh'), 'mine\n');
});

t.test('the copies of two runs do not replace each other', async (t) => {
  const harbour = await openHarbour(t);
  for (const text of ['one', 'two']) {
    await harbour.run();
    writeFileSync(join(harbour.volume, 'settings.json'), text);
  }
  await harbour.run();
  t.equal(harbour.conflicts().length, 2);
});
