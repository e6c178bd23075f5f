/** How much is downloaded and kept: little for a small change, and never more than allowed. */
import { randomBytes } from 'node:crypto';
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openHarbour } from '../../../init/fixture.ts';

const packs = (volume: string) =>
  readdirSync(join(volume, '.berth/git/objects/pack')).filter((name) => name.endsWith('.pack'));

t.test('a small change costs little, and so does a rewritten history', async (t) => {
  const harbour = await openHarbour(t, { 'big.bin': randomBytes(300_000), 'a.md': 'a' });
  for (let commit = 0; commit < 20; commit++) {
    harbour.repository.commit({ 'history.bin': randomBytes(100_000) });
  }
  const cold = await harbour.run();
  t.ok(cold.bytes > 400_000);
  t.ok(cold.bytes < 600_000, 'one commit deep');
  harbour.repository.commit({ 'a.md': 'b' });
  const update = await harbour.run();
  t.ok(update.bytes < 5_000, `${update.bytes} bytes for an update`);
  harbour.repository.rewrite({ 'a.md': 'c', 'big.bin': randomBytes(1_000) });
  const forced = await harbour.run();
  t.ok(forced.bytes < 10_000, `${forced.bytes} bytes for a force push`);
  t.equal(harbour.read('a.md'), 'c');
});

t.test('a git directory that outgrows its bound is made anew', async (t) => {
  const harbour = await openHarbour(t, { 'a.md': 'a' });
  await harbour.run();
  let most = 0;
  for (let commit = 0; commit < 14; commit++) {
    harbour.repository.commit({ 'a.md': `${commit}` });
    await harbour.run();
    most = Math.max(most, packs(harbour.volume).length);
  }
  t.equal(most, 12, 'by how many packs there are');
  t.equal(packs(harbour.volume).length, 3);
  for (let commit = 0; commit < 3; commit++) {
    harbour.repository.commit({ 'big.bin': randomBytes(9_000_000) });
    await harbour.run();
  }
  const sizes = packs(harbour.volume).map(
    (name) => lstatSync(join(harbour.volume, '.berth/git/objects/pack', name)).size,
  );
  const total = sizes.reduce((sum, size) => sum + size, 0);
  t.ok(total < 20_000_000, `by their bytes: ${total}`);
  t.equal(harbour.read('a.md'), '13');
});

t.test('more than BERTH_MAX_REPO_BYTES is refused, and the volume left as it is', async (t) => {
  const harbour = await openHarbour(t, { 'a.md': 'a' });
  const limit = { BERTH_MAX_REPO_BYTES: '1Mi', BERTH_ON_REMOTE_FAILURE: 'fail' };
  await harbour.run(limit);
  harbour.repository.commit({ 'a.md': 'b', 'zeros.bin': Buffer.alloc(2_000_000) });
  const message = /it is larger than 1Mi; .*BERTH_MAX_REPO_BYTES/;
  await t.rejects(harbour.run(limit), { code: 'remote_refused', message }, 'inflated');
  harbour.repository.commit({ 'zeros.bin': null, 'random.bin': randomBytes(2_000_000) });
  await t.rejects(harbour.run(limit), { code: 'remote_refused', message }, 'downloaded');
  const often = Array.from({ length: 30 }, (_, copy) => [`copy-${copy}`, 'x'.repeat(50_000)]);
  harbour.repository.commit({ 'random.bin': null, ...Object.fromEntries(often) });
  await t.rejects(harbour.run(limit), { code: 'remote_refused', message }, 'one blob, often');
  t.strictSame(harbour.tree(), { 'a.md': 'a' });
  t.match(await harbour.run(), { written: 31 }, 'more is allowed by default');
});

t.test('a pack that was changed on its way is fetched again', async (t) => {
  const harbour = await openHarbour(t, { 'a.md': 'a'.repeat(5_000), 'b.bin': randomBytes(50_000) });
  harbour.server.fault({ kind: 'flip', atByte: 20_000, times: 1 });
  t.match(await harbour.run(), { written: 2, commit: harbour.repository.head() });
  t.equal(harbour.events('volume_repaired').length, 1);
  const leftovers = readdirSync(join(harbour.volume, '.berth/git/objects/pack'));
  t.equal(leftovers.length, 2, 'one pack and its index');
});
