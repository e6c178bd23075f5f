/** Every kind of damage that a git directory, a record or a tree was seen with, and its one repair. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import t from 'tap';
import type { VolumeState } from '../../../../init/volume/volume-states.ts';
import { openHarbour, walk } from '../../../init/fixture.ts';
import { canChangeUser, runProgram } from '../../../init/process.ts';

const files = {
  'CLAUDE.md': '# one\n',
  'settings.json': '{}\n',
  'docs/a.md': 'a\n',
  'docs/b.md': 'b\n',
};

type Damage = [name: string, state: VolumeState, make: (directory: string) => void];

/** The largest file with this ending below objects/pack. */
function largest(git: string, ending: string): string {
  const directory = join(git, 'objects/pack');
  const paths = walk(directory)
    .filter((name) => name.endsWith(ending))
    .map((name) => join(directory, name));
  return paths.sort((a, b) => statSync(b).size - statSync(a).size)[0] ?? '';
}

function flip(path: string): void {
  const content = readFileSync(path);
  const middle = content.length >> 1;
  content[middle] = (content[middle] ?? 0) ^ 0xff;
  chmodSync(path, 0o644);
  writeFileSync(path, content);
}

/** With each, a file is missing too: `damaged_tree` where only reading an object shows the damage. */
const git: Damage[] = [
  ['a truncated pack', 'damaged_git_directory', (git) => truncateSync(largest(git, '.pack'), 60)],
  ['an empty pack', 'damaged_git_directory', (git) => truncateSync(largest(git, '.pack'))],
  ['a pack with a flipped bit', 'damaged_tree', (git) => flip(largest(git, '.pack'))],
  [
    'no pack',
    'damaged_git_directory',
    (git) => {
      for (const name of walk(join(git, 'objects/pack'))) rmSync(join(git, 'objects/pack', name));
    },
  ],
  ['an index without its pack', 'damaged_git_directory', (git) => rmSync(largest(git, '.pack'))],
  [
    'a FIFO in the place of a pack',
    'damaged_git_directory',
    (git) => {
      const pack = largest(git, '.pack');
      rmSync(pack);
      execFileSync('mkfifo', [pack]);
    },
  ],
  ['no index', 'damaged_tree', (git) => rmSync(largest(git, '.idx'))],
  ['an empty index', 'damaged_tree', (git) => truncateSync(largest(git, '.idx'))],
  ['a truncated index', 'damaged_git_directory', (git) => truncateSync(largest(git, '.idx'), 500)],
  [
    'an index of garbage',
    'damaged_git_directory',
    (git) => writeFileSync(largest(git, '.idx'), 'x'.repeat(2000)),
  ],
  ['an index with a flipped bit', 'damaged_tree', (git) => flip(largest(git, '.idx'))],
  ['an empty config', 'damaged_tree', (git) => truncateSync(join(git, 'config'))],
  ['a config of garbage', 'damaged_tree', (git) => writeFileSync(join(git, 'config'), '\0[[[')],
  [
    'a shallow file of garbage',
    'damaged_git_directory',
    (git) => writeFileSync(join(git, 'shallow'), 'x\n'),
  ],
  ['no HEAD', 'damaged_tree', (git) => rmSync(join(git, 'HEAD'))],
  ['a HEAD of garbage', 'damaged_tree', (git) => writeFileSync(join(git, 'HEAD'), '\0')],
  ['an empty ref', 'damaged_git_directory', (git) => truncateSync(join(git, 'refs/heads/berth'))],
  [
    'a ref of garbage',
    'damaged_git_directory',
    (git) => writeFileSync(join(git, 'refs/heads/berth'), 'x'),
  ],
  [
    'a ref to nothing',
    'damaged_tree',
    (git) => writeFileSync(join(git, 'refs/heads/berth'), '1'.repeat(40)),
  ],
  ['no ref', 'damaged_tree', (git) => rmSync(join(git, 'refs'), { recursive: true })],
  ['a stray lock', 'damaged_tree', (git) => writeFileSync(join(git, 'index.lock'), '')],
  [
    'no objects',
    'damaged_git_directory',
    (git) => rmSync(join(git, 'objects'), { recursive: true }),
  ],
  [
    'an empty git directory',
    'damaged_tree',
    (git) => {
      rmSync(git, { recursive: true });
      mkdirSync(git);
    },
  ],
  ['no git directory', 'damaged_tree', (git) => rmSync(git, { recursive: true })],
  [
    'a symlink in the place of the objects',
    'damaged_git_directory',
    (git) => {
      renameSync(join(git, 'objects/pack'), join(git, 'moved'));
      symlinkSync('../moved', join(git, 'objects/pack'));
    },
  ],
  [
    'a pack that is a directory',
    'damaged_git_directory',
    (git) => {
      const pack = largest(git, '.pack');
      rmSync(pack);
      mkdirSync(pack);
    },
  ],
];

t.test('a git directory with any damage serves the next update', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  for (const [name, state, damage] of git) {
    damage(join(harbour.volume, '.berth/git'));
    harbour.repository.commit({ 'CLAUDE.md': `after ${name}\n` });
    rmSync(join(harbour.volume, 'docs/a.md'));
    t.match(await harbour.run(), { volume: state, conflicts: 0, remote: 'current' }, name);
    t.strictSame(harbour.tree(), { ...files, 'CLAUDE.md': `after ${name}\n` }, name);
    t.match(await harbour.run(), { volume: 'complete', written: 0, repairs: [] }, name);
  }
});

const records: Damage[] = [
  ['an empty record', 'damaged_record', (state) => truncateSync(join(state, 'applied.json'))],
  ['a torn record', 'damaged_record', (state) => truncateSync(join(state, 'applied.json'), 100)],
  [
    'a record of NUL',
    'damaged_record',
    (state) => writeFileSync(join(state, 'applied.json'), Buffer.alloc(300)),
  ],
  [
    'a record of another shape',
    'damaged_record',
    (state) => writeFileSync(join(state, 'applied.json'), '{"version":1}'),
  ],
  [
    'a record that is a directory',
    'damaged_record',
    (state) => {
      rmSync(join(state, 'applied.json'));
      mkdirSync(join(state, 'applied.json/x'), { recursive: true });
    },
  ],
  [
    'a record that is a symlink',
    'damaged_record',
    (state) => {
      renameSync(join(state, 'applied.json'), join(state, 'elsewhere.json'));
      symlinkSync('elsewhere.json', join(state, 'applied.json'));
    },
  ],
  ['no record', 'foreign', (state) => rmSync(join(state, 'applied.json'))],
  [
    'a torn announcement',
    'damaged_record',
    (state) => writeFileSync(join(state, 'pending.json'), '{'),
  ],
  [
    'an announcement that was never removed',
    'interrupted',
    (state) => cpSync(join(state, 'applied.json'), join(state, 'pending.json')),
  ],
];

t.test('a damaged record goes to quarantine and costs nothing', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  writeFileSync(join(harbour.volume, 'mine.txt'), 'mine');
  for (const [name, state, damage] of records) {
    damage(join(harbour.volume, '.berth'));
    t.match(await harbour.run(), { volume: state, conflicts: 0, drift: 0 }, name);
    t.strictSame(harbour.tree(), { ...files, 'mine.txt': 'mine' }, name);
    t.match(await harbour.run(), { volume: 'complete', written: 0 }, name);
  }
});

const trees: [name: string, conflicts: number, make: (volume: string) => void][] = [
  ['a missing file', 0, (volume) => rmSync(join(volume, 'CLAUDE.md'))],
  ['an emptied file', 0, (volume) => truncateSync(join(volume, 'CLAUDE.md'))],
  ['a file of NUL', 1, (volume) => writeFileSync(join(volume, 'CLAUDE.md'), Buffer.alloc(6))],
  [
    'a directory in the place of a file',
    0,
    (volume) => {
      rmSync(join(volume, 'CLAUDE.md'));
      mkdirSync(join(volume, 'CLAUDE.md/x'), { recursive: true });
      rmSync(join(volume, 'CLAUDE.md/x'), { recursive: true });
    },
  ],
  [
    'a file in the place of a directory',
    1,
    (volume) => {
      rmSync(join(volume, 'docs'), { recursive: true });
      writeFileSync(join(volume, 'docs'), 'file');
    },
  ],
  [
    'a symlink in the place of a directory',
    1,
    (volume) => {
      rmSync(join(volume, 'docs'), { recursive: true });
      symlinkSync('/etc', join(volume, 'docs'));
    },
  ],
  [
    'a dangling symlink in the place of a file',
    1,
    (volume) => {
      rmSync(join(volume, 'CLAUDE.md'));
      symlinkSync('nowhere', join(volume, 'CLAUDE.md'));
    },
  ],
  [
    'a FIFO in the place of a file',
    1,
    (volume) => {
      rmSync(join(volume, 'settings.json'));
      execFileSync('mkfifo', [join(volume, 'settings.json')]);
    },
  ],
  [
    'an edit of executable configuration',
    1,
    (volume) => writeFileSync(join(volume, 'settings.json'), '{"hooks":{}}'),
  ],
  [
    'a directory gone with all its files',
    0,
    (volume) => rmSync(join(volume, 'docs'), { recursive: true }),
  ],
];

t.test('a damaged tree is restored, and the replaced files are saved', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  for (const [name, conflicts, damage] of trees) {
    damage(harbour.volume);
    t.match(await harbour.run(), { volume: 'damaged_tree', conflicts }, name);
    t.strictSame(harbour.tree(), files, name);
    t.match(await harbour.run(), { volume: 'complete', written: 0 }, name);
  }
});

t.test('a .git that the old script left is saved, and the token in it is not', async (t) => {
  const harbour = await openHarbour(t, files);
  const settings = '[remote "origin"]\n\turl = https://x:ghp_to/k@en@github.com/me/claude.git\n';
  mkdirSync(join(harbour.volume, '.git/objects'), { recursive: true });
  writeFileSync(join(harbour.volume, '.git/config'), settings);
  writeFileSync(join(harbour.volume, 'CLAUDE.md'), '# one\n');
  t.match(await harbour.run(), { volume: 'foreign', repairs: [/\.git/] });
  t.notOk(existsSync(join(harbour.volume, '.git')));
  t.strictSame(harbour.conflicts(), ['.git/config']);
  const saved = walk(harbour.volume).filter((path) => basename(path) === 'config');
  for (const path of saved) t.notMatch(readFileSync(join(harbour.volume, path), 'utf8'), /to\/k/);
});

t.test(
  'root can update read-only files and files of other users',
  { skip: !canChangeUser && 'needs root' },
  async (t) => {
    const harbour = await openHarbour(t, files);
    await harbour.run();
    harbour.repository.commit({ 'docs/a.md': 'new\n', 'docs/b.md': null });
    execFileSync('chown', ['-R', '4242:4242', harbour.volume]);
    for (const path of ['docs/a.md', 'docs']) chmodSync(join(harbour.volume, path), 0o555);
    t.match(await harbour.run(), { written: 1, removed: 1 });
    t.equal(harbour.read('docs/a.md'), 'new\n');
    t.equal(statSync(join(harbour.volume, 'docs/a.md')).uid, 1000);
  },
);

t.test(
  'without capabilities they are, with a remedy, and nothing is half done',
  { skip: !canChangeUser && 'needs root' },
  async (t) => {
    const harbour = await openHarbour(t, files);
    chmodSync(harbour.directory, 0o755);
    await harbour.run();
    harbour.repository.commit({ 'docs/a.md': 'new\n' });
    execFileSync('chown', ['-R', '4242:4242', join(harbour.volume, 'docs')]);
    const refused = await runProgram(harbour.environment(), { as: 'user' });
    t.equal(refused.code, 73, refused.output);
    t.match(refused.lines.at(-1), { event: 'failed', msg: /fsGroup|CHOWN/ });
    t.equal(harbour.read('docs/a.md'), 'a\n');
    execFileSync('chown', ['-R', '1000:1000', join(harbour.volume, 'docs')]);
    t.equal((await runProgram(harbour.environment(), { as: 'user' })).code, 0);
    t.equal(harbour.read('docs/a.md'), 'new\n');
  },
);
