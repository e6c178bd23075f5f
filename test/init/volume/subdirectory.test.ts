/** BERTH_REPO_PATH: a directory of the repository becomes the content of the volume. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openHarbour } from '../fixture.ts';

const files = {
  'README.md': 'of the repository',
  'home/.claude/CLAUDE.md': 'one',
  'home/.claude/hooks/a.sh': { content: 'true', mode: '100755' as const },
  'home/.claude/.credentials.json': 'stolen',
  'home/.claude/out.md': { symlink: '../../README.md' },
  'home/.claude-other/x.md': 'other',
};
const BERTH_REPO_PATH = 'home/.claude';

t.test('only that directory is put on the volume, and updated there', async (t) => {
  const harbour = await openHarbour(t, files);
  t.match(await harbour.run({ BERTH_REPO_PATH: '/home/.claude/' }), { written: 2, skipped: 2 });
  t.strictSame(harbour.tree(), { 'CLAUDE.md': 'one', 'hooks/a.sh': 'true' });
  t.match(await harbour.run({ BERTH_REPO_PATH }), { volume: 'complete', written: 0 });
  harbour.repository.commit({
    'README.md': 'changed',
    'home/.claude/CLAUDE.md': 'two',
    'home/.claude/hooks/a.sh': null,
    'home/.claude/new.md': 'new',
  });
  t.match(await harbour.run({ BERTH_REPO_PATH }), { written: 2, removed: 1, conflicts: 0 });
  t.strictSame(harbour.tree(), { 'CLAUDE.md': 'two', 'new.md': 'new' });
});

t.test('edits of its files are kept and merged', async (t) => {
  const harbour = await openHarbour(t, { 'c/notes.md': 'a\n\nb\n\nc\n' });
  await harbour.run({ BERTH_REPO_PATH: 'c' });
  writeFileSync(join(harbour.volume, 'notes.md'), 'mine\n\nb\n\nc\n');
  t.match(await harbour.run({ BERTH_REPO_PATH: 'c' }), { kept: 1 });
  harbour.repository.commit({ 'c/notes.md': 'a\n\nb\n\ntheirs\n' });
  t.match(await harbour.run({ BERTH_REPO_PATH: 'c' }), { merged: 1 });
  t.equal(harbour.read('notes.md'), 'mine\n\nb\n\ntheirs\n');
});

t.test('another directory takes the place of the first, whose files go', async (t) => {
  const harbour = await openHarbour(t, { 'a/x.md': 'x', 'a/both.md': 'a', 'b/both.md': 'b' });
  await harbour.run({ BERTH_REPO_PATH: 'a' });
  writeFileSync(join(harbour.volume, 'mine'), 'mine');
  t.match(await harbour.run({ BERTH_REPO_PATH: 'b' }), { volume: 'other_ref', conflicts: 0 });
  t.strictSame(harbour.tree(), { 'both.md': 'b', mine: 'mine' });
});

t.test(
  'a directory that is not there is refused with a remedy, the earlier state stays',
  async (t) => {
    const harbour = await openHarbour(t, files);
    const refused = { code: 'remote_refused', message: /correct BERTH_REPO_PATH/ };
    await t.rejects(harbour.run({ BERTH_REPO_PATH: 'nowhere' }), refused);
    await t.rejects(harbour.run({ BERTH_REPO_PATH: 'README.md' }), refused, 'a file is none');
    t.strictSame(harbour.tree(), {});
    await harbour.run({ BERTH_REPO_PATH });
    harbour.repository.rewrite({ 'x.md': 'moved away' });
    t.match(await harbour.run({ BERTH_REPO_PATH }), { remote: 'failed', written: 0 });
    t.equal(harbour.read('CLAUDE.md'), 'one');
  },
);

t.test('a BERTH_REPO_PATH that is not a directory path is rejected at once', async (t) => {
  const harbour = await openHarbour(t);
  for (const path of ['..', 'a/../b', '/', 'a\\b']) {
    t.throws(() => harbour.config({ BERTH_REPO_PATH: path }), { message: /BERTH_REPO_PATH/ }, path);
  }
});
