/** Volumes that are full, out of inodes or read-only: a clear error, nothing lost, and no half. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openHarbour, walk } from '../../init/fixture.ts';
import { runProgram } from '../../init/process.ts';
import { cannotMount, mountSmall } from '../../support/small-volume.ts';

const skip = cannotMount;

const files = { 'CLAUDE.md': 'one\n', 'docs/a.md': 'a\n', 'settings.json': '{}\n' };
const noise = (bytes: number) => randomBytes(bytes).toString('base64');

async function open(t: Test, options: string) {
  const harbour = await openHarbour(t, files);
  const small = mountSmall(harbour.volume, options);
  /** In this process: only a refusal is also about how the program ends. */
  const runs = async () => t.match(await harbour.run(), { remote: 'current' });
  const refuses = async (message: RegExp) => {
    const { code, lines, output } = await runProgram(harbour.environment());
    t.equal(code, 73, output);
    t.match(lines.at(-1), { event: 'failed', code: 'volume_unwritable', msg: message });
  };
  const leftovers = () => walk(harbour.volume).filter((path) => /\.tmp$|\/tmp-/.test(path));
  return {
    harbour,
    runs,
    refuses,
    leftovers,
    remount: (changed: string) => small.mount(`remount,${changed}`),
    [Symbol.dispose]: () => small[Symbol.dispose](),
  };
}

t.test('an update that does not fit leaves the earlier state', { skip }, async (t) => {
  using disk = await open(t, 'size=1m');
  const { harbour, remount, runs, refuses, leftovers } = disk;
  await runs();
  writeFileSync(join(harbour.volume, 'mine.txt'), 'mine');
  const before = harbour.tree();
  const large = noise(600_000);
  harbour.repository.commit({ 'CLAUDE.md': 'two\n', 'large.bin': large });
  for (let attempt = 0; attempt < 2; attempt++) {
    await refuses(/the disk is full, enlarge the volume/);
    t.match(harbour.tree(), { ...before, 'CLAUDE.md': /^(one|two)\n$/ });
    t.strictSame(leftovers(), []);
  }
  remount('size=8m');
  await runs();
  t.strictSame(harbour.tree(), { ...before, 'CLAUDE.md': 'two\n', 'large.bin': large });
  t.strictSame(harbour.conflicts(), []);
});

t.test(
  'a volume that is used up gives its reserve up, and a run without news ends well',
  { skip },
  async (t) => {
    using disk = await open(t, 'size=4m');
    const { harbour, runs } = disk;
    await runs();
    const reserve = join(harbour.volume, '.berth/reserve');
    mkdirSync(reserve);
    writeFileSync(join(reserve, 'room'), noise(300_000));
    for (const bytes of [65_536, 4_096, 1]) {
      try {
        for (let file = 0; ; file++) {
          writeFileSync(join(harbour.volume, `fill-${bytes}-${file}`), Buffer.alloc(bytes, 1));
        }
      } catch {
        // No more of that size.
      }
    }
    t.equal((await runProgram(harbour.environment())).code, 0);
    t.notOk(existsSync(reserve));
    t.ok(harbour.tree()['CLAUDE.md']);
  },
);

t.test('the files may not fit even where the download does', { skip }, async (t) => {
  using disk = await open(t, 'size=1m');
  const { harbour, remount, runs, refuses, leftovers } = disk;
  await runs();
  const zeros = '0'.repeat(700_000);
  harbour.repository.commit({ 'a.txt': zeros, 'b.txt': `${zeros}b`, 'CLAUDE.md': 'two\n' });
  await refuses(/the disk is full/);
  t.match(harbour.tree(), { 'docs/a.md': 'a\n', 'settings.json': '{}\n' });
  t.strictSame(leftovers(), []);
  remount('size=8m');
  await runs();
  t.match(harbour.tree(), { 'a.txt': zeros, 'CLAUDE.md': 'two\n' });
  t.strictSame(harbour.conflicts(), []);
});

t.test('inodes can run out too', { skip }, async (t) => {
  using disk = await open(t, 'size=8m,nr_inodes=60');
  const { harbour, remount, runs, refuses } = disk;
  await runs();
  const many = Object.fromEntries(
    Array.from({ length: 80 }, (_, index) => [`many/${index}.md`, `${index}`]),
  );
  harbour.repository.commit({ ...many, 'CLAUDE.md': 'two\n' });
  await refuses(/the disk is full/);
  t.match(harbour.tree(), { 'docs/a.md': 'a\n', 'settings.json': '{}\n' });
  remount('nr_inodes=1000');
  await runs();
  t.match(harbour.tree(), { ...many, 'CLAUDE.md': 'two\n' });
});

t.test('a disk that other files have filled completely is reported', { skip }, async (t) => {
  using disk = await open(t, 'size=1m');
  const { harbour, runs, refuses } = disk;
  await runs();
  const before = harbour.tree();
  const filler = join(harbour.volume, 'filler');
  t.throws(() => writeFileSync(filler, Buffer.alloc(2 * 1024 * 1024)), { code: 'ENOSPC' });
  harbour.repository.commit({ 'CLAUDE.md': 'two\n' });
  await refuses(/the disk is full/);
  rmSync(filler);
  t.strictSame(harbour.tree(), before);
  await runs();
  t.equal(harbour.read('CLAUDE.md'), 'two\n');
});

t.test('a read-only volume is reported', { skip }, async (t) => {
  using disk = await open(t, 'size=1m');
  const { harbour, remount, runs, refuses } = disk;
  await runs();
  remount('ro');
  await refuses(/read-only|mount it writable/);
  t.equal((await runProgram(harbour.environment(), { arguments: ['--check'] })).code, 0);
});

t.test('a repository larger than BERTH_MAX_REPO_BYTES is refused, the volume stays', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  const before = harbour.tree();
  const bounded = { BERTH_MAX_REPO_BYTES: '1Mi' };
  // 4 MB that come as 4 KB: only what they inflate to gives them away.
  harbour.repository.commit({ 'bomb.txt': '0'.repeat(4 * 1024 * 1024) });
  const { code, output } = await runProgram(harbour.environment(bounded));
  t.equal(code, 0, 'it goes on with the earlier state');
  t.match(output, /BERTH_MAX_REPO_BYTES/);
  t.strictSame(harbour.tree(), before);
  const strict = { ...bounded, BERTH_ON_REMOTE_FAILURE: 'fail' };
  t.equal((await runProgram(harbour.environment(strict))).code, 77);
});
