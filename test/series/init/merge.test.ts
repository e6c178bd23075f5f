/** Edits on the volume over many updates: they stay, are merged, or give way and are saved. */
import { existsSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Harbour, openHarbour } from '../../init/fixture.ts';

const lines = (changes: Record<number, string> = {}) =>
  Array.from({ length: 9 }, (_, index) => `${changes[index] ?? `line ${index}`}\n`).join('');

const edit = (harbour: Harbour, text: string, path = 'notes.md') =>
  writeFileSync(join(harbour.volume, path), text);

const bases = (harbour: Harbour) => {
  const directory = join(harbour.volume, '.berth/base');
  return existsSync(directory) ? readdirSync(directory) : [];
};

t.test('an edit and a later change of upstream are merged, again and again', async (t) => {
  const harbour = await openHarbour(t, { 'notes.md': lines() });
  await harbour.run();
  edit(harbour, lines({ 0: 'mine' }));
  t.match(await harbour.run(), { kept: 1, merged: 0 });
  t.equal(bases(harbour).length, 1);
  harbour.repository.commit({ 'notes.md': lines({ 8: 'theirs' }) });
  t.match(await harbour.run(), { merged: 1, written: 1, conflicts: 0, kept: 0 });
  t.equal(harbour.read('notes.md'), lines({ 0: 'mine', 8: 'theirs' }));
  t.match(harbour.events('local_change').at(-1), { path: 'notes.md', msg: /^merged a local edit/ });
  t.match(await harbour.run(), { kept: 1, written: 0 });
  harbour.repository.commit({ 'notes.md': lines({ 4: 'more', 8: 'theirs' }) });
  t.match(await harbour.run(), { merged: 1, conflicts: 0 });
  t.equal(harbour.read('notes.md'), lines({ 0: 'mine', 4: 'more', 8: 'theirs' }));
  t.equal(bases(harbour).length, 1, 'only what is still needed is kept');
});

t.test('an edit that upstream takes over is no edit any more', async (t) => {
  const harbour = await openHarbour(t, { 'notes.md': lines() });
  await harbour.run();
  edit(harbour, lines({ 0: 'mine' }));
  await harbour.run();
  harbour.repository.commit({ 'notes.md': lines({ 0: 'mine' }) });
  t.match(await harbour.run(), { kept: 0, written: 0, conflicts: 0 });
  t.strictSame(bases(harbour), []);
});

t.test('the base of an edit survives the loss of the git directory', async (t) => {
  const harbour = await openHarbour(t, { 'notes.md': lines() });
  await harbour.run();
  edit(harbour, lines({ 0: 'mine' }));
  await harbour.run();
  rmSync(join(harbour.volume, '.berth/git'), { recursive: true });
  harbour.repository.rewrite({ 'notes.md': lines({ 8: 'theirs' }) });
  t.match(await harbour.run(), { merged: 1, conflicts: 0 });
  t.equal(harbour.read('notes.md'), lines({ 0: 'mine', 8: 'theirs' }));
});

t.test('an edit made since the last run is merged too', async (t) => {
  const harbour = await openHarbour(t, { 'notes.md': lines() });
  await harbour.run();
  edit(harbour, lines({ 0: 'mine' }));
  harbour.repository.rewrite({ 'notes.md': lines({ 8: 'theirs' }) });
  t.match(await harbour.run(), { merged: 1, conflicts: 0 });
  t.equal(harbour.read('notes.md'), lines({ 0: 'mine', 8: 'theirs' }));
});

t.test('and though a power cut has left the index of a later update empty', async (t) => {
  const harbour = await openHarbour(t, { 'notes.md': lines(), 'CLAUDE.md': 'one\n' });
  const packs = join(harbour.volume, '.berth/git/objects/pack');
  await harbour.run();
  const before = readdirSync(packs);
  harbour.repository.commit({ 'CLAUDE.md': 'two\n' });
  await harbour.run();
  const index = readdirSync(packs).find((name) => name.endsWith('.idx') && !before.includes(name));
  truncateSync(join(packs, index ?? ''));
  edit(harbour, lines({ 0: 'mine' }));
  harbour.repository.commit({ 'notes.md': lines({ 8: 'theirs' }) });
  t.match(await harbour.run(), { merged: 1, conflicts: 0 });
  t.equal(harbour.read('notes.md'), lines({ 0: 'mine', 8: 'theirs' }));
  t.equal(harbour.read('CLAUDE.md'), 'two\n');
});

t.test('edits that contradict upstream, or are no text, give way and are saved', async (t) => {
  const binary = Buffer.from([1, 0, 2]);
  const harbour = await openHarbour(t, { 'notes.md': lines(), 'image.bin': binary });
  await harbour.run();
  edit(harbour, lines({ 0: 'mine' }));
  writeFileSync(join(harbour.volume, 'image.bin'), Buffer.from([1, 0, 3]));
  await harbour.run();
  harbour.repository.commit({
    'notes.md': lines({ 0: 'theirs' }),
    'image.bin': Buffer.from([1, 0, 4]),
  });
  t.match(await harbour.run(), { merged: 0, conflicts: 2, written: 2 });
  t.equal(harbour.read('notes.md'), lines({ 0: 'theirs' }));
  t.strictSame(harbour.conflicts(), ['image.bin', 'notes.md']);
});

t.test('a base that was tampered with is not believed', async (t) => {
  const harbour = await openHarbour(t, { 'notes.md': lines() });
  await harbour.run();
  edit(harbour, lines({ 0: 'mine' }));
  await harbour.run();
  const [name = ''] = bases(harbour);
  writeFileSync(join(harbour.volume, '.berth/base', name), lines({ 0: 'mine' }));
  rmSync(join(harbour.volume, '.berth/git'), { recursive: true });
  harbour.repository.rewrite({ 'notes.md': lines({ 8: 'theirs' }) });
  t.match(await harbour.run(), { merged: 0, conflicts: 1 });
  t.equal(harbour.read('notes.md'), lines({ 8: 'theirs' }));
});

t.test('BERTH_LOCAL_CHANGES=discard lets no edit stay, and loses none', async (t) => {
  const harbour = await openHarbour(t, { 'notes.md': lines() });
  await harbour.run();
  edit(harbour, 'mine');
  t.match(await harbour.run({ BERTH_LOCAL_CHANGES: 'discard' }), { kept: 0, conflicts: 1 });
  t.equal(harbour.read('notes.md'), lines());
  t.strictSame(harbour.conflicts(), ['notes.md']);
  t.strictSame(bases(harbour), []);
});
