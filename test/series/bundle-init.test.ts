/**
 * Hostile trees, damage and bombs against the bundle of berth-init, as the image has it: there the
 * library runs on other parts than in the sources (scripts/lean.ts).
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Harbour, openHarbour, walk } from '../init/fixture.ts';
import { startProgram } from '../support/programs.ts';
import { gitEnvironment } from '../support/repository.ts';

const files = { 'CLAUDE.md': 'one\n', 'docs/a.md': 'a\n', 'settings.json': '{}\n' };
const mebibyte = 1024 * 1024;

/** One run of the bundle; `peak` is the most memory it had resident, in bytes. */
async function run(harbour: Harbour, overrides: Record<string, string> = {}) {
  const told = join(harbour.directory, 'peak');
  const tell = `import { readFileSync, writeFileSync } from 'node:fs';
    process.on('exit', () => writeFileSync(${JSON.stringify(told)}, readFileSync('/proc/self/status')));`;
  const program = startProgram('init', {
    environment: {
      ...harbour.environment(overrides),
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(tell)}`,
    },
  });
  const code = await program.ended;
  return { code, output: program.output, lines: program.lines, peak: peakOf(told) };
}

/** VmHWM: what getrusage says is inherited from whoever started the process. */
const peakOf = (path: string) =>
  Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(path, 'utf8'))?.[1]) * 1024;

/** Makes `main` a commit of this tree, in the words of git-mktree(1); git itself checks nothing here. */
function plant({ repository }: Harbour, rows: (git: Git) => string[]): void {
  const git: Git = (args, input = '') =>
    execFileSync('git', args, { cwd: repository.path, env: gitEnvironment(), input })
      .toString()
      .trim();
  const tree = git(['mktree', '-z'], rows(git).join(''));
  git(['update-ref', 'refs/heads/main', git(['commit-tree', '-m', 'Planted', tree])]);
}

type Git = (args: string[], input?: string) => string;

t.test(
  'a hostile tree writes nothing outside the volume and nothing to reserved paths',
  async (t) => {
    const harbour = await openHarbour(t, files);
    writeFileSync(join(harbour.directory, 'x'), 'outside');
    const names = [
      '..',
      '.',
      '.git',
      '.GIT',
      '.git.',
      '.git ',
      'git~1',
      '.git::$INDEX_ALLOCATION',
      '.g\u200cit',
      '.berth',
      '.Berth',
      '.credentials.json',
      'a\\b',
    ];
    plant(harbour, (git) => {
      const blob = git(['hash-object', '-w', '--stdin'], 'hostile');
      const inner = git(['mktree'], `100644 blob ${blob}\tx\n`);
      const up = git(['hash-object', '-w', '--stdin'], '../..');
      return [
        `100644 blob ${blob}\tgood.md\0`,
        `120000 blob ${up}\tlink\0`,
        ...names.map((name) => `040000 tree ${inner}\t${name}\0`),
      ];
    });
    for (let again = 0; again < 2; again++) {
      const { code, output, lines } = await run(harbour);
      t.equal(code, 0, output);
      t.match(lines.at(-1), { event: 'report', skipped: names.length + 1 });
      t.strictSame(harbour.tree(), { 'good.md': 'hostile' });
      t.equal(readFileSync(join(harbour.directory, 'x'), 'utf8'), 'outside');
      t.notOk(existsSync(join(harbour.volume, '.berth/x')));
    }
  },
);

type Damage = (git: string) => void;

function each(git: string, ending: string, damage: (path: string) => void): void {
  const directory = join(git, 'objects/pack');
  for (const name of readdirSync(directory))
    if (name.endsWith(ending)) damage(join(directory, name));
}

function spoil(path: string): void {
  const content = readFileSync(path);
  for (let at = 16; at < content.length - 20; at++) content[at] = (content[at] ?? 0) ^ 0xff;
  rmSync(path);
  writeFileSync(path, content);
}

const damages: Record<string, Damage> = {
  'truncated packs': (git) => each(git, '.pack', (path) => truncateSync(path, 40)),
  'flipped packs': (git) => each(git, '.pack', spoil),
  'no packs': (git) => each(git, '.pack', (path) => rmSync(path)),
  'no indexes': (git) => each(git, '.idx', (path) => rmSync(path)),
  'flipped indexes': (git) => each(git, '.idx', spoil),
  'garbage as shallow': (git) => writeFileSync(join(git, 'shallow'), 'x\n'),
  'garbage as config': (git) => writeFileSync(join(git, 'config'), '\0[[['),
  'garbage as ref': (git) => writeFileSync(join(git, 'refs/heads/berth'), 'x'),
  'a planted symlink': (git) => {
    renameSync(join(git, 'objects/pack'), join(git, 'moved'));
    symlinkSync('../moved', join(git, 'objects/pack'));
  },
  'a torn record': (git) => truncateSync(join(git, '../applied.json'), 50),
};

t.test('any damage is mended on the way to the next commit', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  for (const [name, damage] of Object.entries(damages)) {
    damage(join(harbour.volume, '.berth/git'));
    rmSync(join(harbour.volume, 'docs'), { recursive: true });
    symlinkSync('/etc', join(harbour.volume, 'docs'));
    harbour.repository.commit({ 'CLAUDE.md': `after ${name}\n` });
    const { code, output } = await run(harbour);
    t.equal(code, 0, `${name}: ${output}`);
    t.strictSame(harbour.tree(), { ...files, 'CLAUDE.md': `after ${name}\n` }, name);
  }
});

const bytesOn = (directory: string) =>
  walk(directory).reduce((sum, path) => sum + lstatSync(join(directory, path)).blocks * 512, 0);

t.test('bombs cost neither memory nor disk', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  const before = harbour.tree();
  const bounded = { BERTH_MAX_REPO_BYTES: '8Mi', BERTH_ON_REMOTE_FAILURE: 'fail' };
  const isRefused = async (name: string, message: RegExp) => {
    const { code, output, peak } = await run(harbour, bounded);
    t.equal(code, 77, `${name}: ${output}`);
    t.match(output, message);
    t.ok(peak < 256 * mebibyte, `${name}: ${Math.round(peak / mebibyte)} MiB of memory`);
    const disk = bytesOn(harbour.volume);
    t.ok(disk < 12 * mebibyte, `${name}: ${Math.round(disk / mebibyte)} MiB of disk`);
    t.strictSame(harbour.tree(), before);
  };
  harbour.repository.rewrite({ 'zeros.bin': Buffer.alloc(256 * mebibyte) });
  await isRefused('one file', /BERTH_MAX_REPO_BYTES/);
  plant(harbour, (git) => {
    const blob = git(['hash-object', '-w', '--stdin'], 'x'.repeat(1_000));
    let tree = `100644 blob ${blob}`;
    for (let depth = 0; depth < 10; depth++) {
      const rows = Array.from({ length: 10 }, (_, index) => `${tree}\t${index}\n`);
      tree = `040000 tree ${git(['mktree'], rows.join(''))}`;
    }
    return [`${tree}\tdeep\0`];
  });
  await isRefused('ten thousand million files', /more than 100,000 files|BERTH_MAX_REPO_BYTES/);
});
