import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openHarbour, walk } from '../../../init/fixture.ts';
import { createRepository } from '../../../support/repository.ts';
import { until } from '../../../support/until.ts';

t.test("berth's state is closed to others and holds no token", async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  const state = join(harbour.volume, '.berth');
  t.equal(statSync(state).mode & 0o777, 0o700);
  t.strictSame(readdirSync(state).sort(), ['applied.json', 'git', 'report.json']);
  for (const path of walk(harbour.volume)) {
    t.notOk(readFileSync(join(harbour.volume, path)).includes('canary-token'), path);
  }
});

t.test('a newer format is refused and not touched', async (t) => {
  for (const name of ['applied.json', 'pending.json', 'credentials.json']) {
    const harbour = await openHarbour(t);
    await harbour.run();
    const path = join(harbour.volume, '.berth', name);
    writeFileSync(path, '{"version":2,"news":true}');
    const before = harbour.tree();
    harbour.repository.commit({ 'CLAUDE.md': 'two' });
    await t.rejects(harbour.run(), { code: 'volume_damaged', message: /format version 2/ }, name);
    t.equal(readFileSync(path, 'utf8'), '{"version":2,"news":true}');
    t.strictSame(harbour.tree(), before);
  }
});

t.test('a damaged record goes to quarantine and the volume is made right', async (t) => {
  for (const garbage of ['', '{', '[]', '{"version":1}', '{"version":"x"}', '\0'.repeat(100)]) {
    const harbour = await openHarbour(t);
    await harbour.run();
    writeFileSync(join(harbour.volume, '.berth/applied.json'), garbage);
    writeFileSync(join(harbour.volume, 'CLAUDE.md'), 'edited');
    t.match(await harbour.run(), { volume: 'damaged_record', written: 1, conflicts: 1 });
    t.equal(harbour.read('CLAUDE.md'), '# one\n');
    t.equal(walk(join(harbour.volume, '.berth/quarantine')).length, 1);
    t.match(await harbour.run(), { volume: 'complete', written: 0 });
  }
});

t.test('a damaged git directory is fetched again', async (t) => {
  const damages: ((git: string) => void)[] = [
    (git) => truncateSync(packIn(git), 40),
    (git) => truncateSync(packIn(git), 0),
    (git) => rmSync(packIn(git)),
    (git) => writeFileSync(packIn(git), readFileSync(packIn(git)).fill(0xff, 30)),
    (git) => writeFileSync(join(git, 'shallow'), 'garbage\n'),
    (git) => writeFileSync(join(git, 'refs/heads/berth'), 'garbage'),
    (git) => rmSync(join(git, 'objects'), { recursive: true }),
  ];
  const harbour = await openHarbour(t);
  await harbour.run();
  for (const [index, damage] of damages.entries()) {
    damage(join(harbour.volume, '.berth/git'));
    harbour.repository.commit({ 'CLAUDE.md': `after damage ${index}\n` });
    await harbour.run();
    t.equal(harbour.read('CLAUDE.md'), `after damage ${index}\n`);
    rmSync(join(harbour.volume, 'CLAUDE.md'));
    await harbour.run();
    t.equal(harbour.read('CLAUDE.md'), `after damage ${index}\n`, 'and can restore');
  }
  t.ok(readdirSync(join(harbour.volume, '.berth/quarantine')).length <= 3, 'it is bounded');
});

/** The largest pack. */
function packIn(git: string): string {
  const packs = walk(join(git, 'objects/pack'))
    .filter((name) => name.endsWith('.pack'))
    .map((name) => join(git, 'objects/pack', name));
  return packs.sort((a, b) => statSync(b).size - statSync(a).size)[0] ?? '';
}

t.test('another repository takes the place of the first, whose files go', async (t) => {
  const harbour = await openHarbour(t, { 'a.md': 'a', 'both.md': 'one' });
  await harbour.run();
  writeFileSync(join(harbour.volume, 'mine.txt'), 'mine');
  createRepository(join(harbour.directory, 'repositories'), 'me/other', { 'both.md': 'two' });
  const url = harbour.url.replace('claude', 'other');
  t.match(await harbour.run({ BERTH_REPO: url }), { volume: 'other_repository', conflicts: 0 });
  t.strictSame(harbour.tree(), { 'both.md': 'two', 'mine.txt': 'mine' });
});

t.test('a missing volume and a held lease are different errors', async (t) => {
  const harbour = await openHarbour(t);
  await t.rejects(harbour.run({ BERTH_CONFIG_DIR: join(harbour.directory, 'nowhere') }), {
    code: 'volume_unwritable',
    message: /mount the volume there/,
  });
  const link = join(harbour.directory, 'link');
  symlinkSync(harbour.volume, link);
  await t.rejects(harbour.run({ BERTH_CONFIG_DIR: link }), { message: /it is a symlink/ });
  mkdirSync(join(harbour.volume, '.berth'));
  const lease = { version: 1, owner: 'x', holder: 'serve on pod-1', beat: 1 };
  writeFileSync(join(harbour.volume, '.berth/lease.json'), JSON.stringify(lease));
  const stop = new AbortController();
  harbour.server.fault({ kind: 'status', status: 401 });
  const refused = t.rejects(harbour.run({}, stop.signal), {
    code: 'lease_held',
    message: /serve on pod-1 holds it/,
  });
  await until('it waits', () => harbour.events('lease_waiting').length > 0);
  stop.abort();
  await refused;
  t.notOk(existsSync(join(harbour.volume, 'CLAUDE.md')), 'nothing was written');
});
