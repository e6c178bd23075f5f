import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { boundQuarantine, openAside } from '../../shared/set-aside.ts';
import { testDirectory } from '../support/directory.ts';
import { filesWith } from '../support/find-secret.ts';
import { cannotMount, mountSmall } from '../support/small-volume.ts';

const skip = cannotMount;

/** A directory, and one on another file system, to which nothing can be renamed. */
function twoFileSystems(t: Test, options: string) {
  const root = testDirectory(t, { volume: {}, state: {} });
  const state = join(root, 'state');
  const small = mountSmall(state, options);
  const volume = join(root, 'volume');
  return { volume, state, [Symbol.dispose]: () => small[Symbol.dispose]() };
}

t.test('a file moved to another file system keeps its content and type', { skip }, async (t) => {
  using both = twoFileSystems(t, 'size=1m');
  const { volume, state } = both;
  const directory = join(volume, 'docs');
  mkdirSync(join(directory, 'deep'), { recursive: true });
  writeFileSync(join(directory, 'deep/script'), 'text', { mode: 0o755 });
  symlinkSync('/nowhere', join(directory, 'link'));
  execFileSync('mkfifo', [join(directory, 'fifo')]);
  const saved = await openAside(join(state, 'conflicts'), 'test').save(directory, 'docs');
  t.notOk(existsSync(directory));
  t.equal(readFileSync(join(saved, 'deep/script'), 'utf8'), 'text');
  t.equal(lstatSync(join(saved, 'deep/script')).mode & 0o777, 0o755);
  t.equal(readlinkSync(join(saved, 'link')), '/nowhere');
  t.strictSame(readdirSync(saved).sort(), ['deep', 'link'], 'a FIFO has nothing to save');
});

t.test('a FIFO gives way although it cannot be copied there', { skip }, async (t) => {
  using both = twoFileSystems(t, 'size=1m');
  const { volume, state } = both;
  const fifo = join(volume, 'CLAUDE.md');
  execFileSync('mkfifo', [fifo]);
  await openAside(join(state, 'conflicts'), 'test').save(fifo, 'CLAUDE.md');
  t.strictSame(readdirSync(volume), []);
});

t.test(
  'a file that does not fit stays in place, and no partial copy remains',
  { skip },
  async (t) => {
    using both = twoFileSystems(t, 'size=256k');
    const { volume, state } = both;
    const large = join(volume, 'large');
    writeFileSync(large, 'x'.repeat(1_000_000));
    const aside = openAside(join(state, 'conflicts'), 'test');
    await t.rejects(aside.save(large, 'large'), { code: 'ENOSPC' });
    t.equal(lstatSync(large).size, 1_000_000);
    const [place = ''] = readdirSync(join(state, 'conflicts'));
    t.strictSame(readdirSync(join(state, 'conflicts', place)), []);
  },
);

t.test('a file behind a symlink is not copied from another file system', { skip }, async (t) => {
  using both = twoFileSystems(t, 'size=1m');
  const { volume, state } = both;
  writeFileSync(join(state, 'git-token'), 'secret');
  symlinkSync(state, join(volume, 'd'));
  const aside = openAside(join(volume, 'conflicts'), 'test');
  await t.rejects(aside.save(join(volume, 'd/git-token'), 'd/git-token'), {
    code: 'volume_unwritable',
  });
  t.strictSame(filesWith(join(volume, 'conflicts'), ['secret']), []);
  t.equal(readFileSync(join(state, 'git-token'), 'utf8'), 'secret');
});

t.test('the newest files stay in quarantine, however many are moved in a second', async (t) => {
  const root = testDirectory(t);
  const quarantine = join(root, 'quarantine');
  for (let each = 0; each < 8; each++) {
    writeFileSync(join(root, 'file'), String(each));
    const saved = await openAside(quarantine, 'test').save(join(root, 'file'), 'file');
    await boundQuarantine(quarantine, 3);
    t.equal(readFileSync(saved, 'utf8'), String(each));
  }
  t.equal(readdirSync(quarantine).length, 3);
});
