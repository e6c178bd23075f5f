import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { testDirectory } from '../support/directory.ts';
import { LooseCommits } from '../support/loose-commits.ts';
import { createRepository, type FileSpec, gitEnvironment } from '../support/repository.ts';
import { readSampleFiles } from '../support/sample-repository.ts';

function git(path: string, ...args: string[]): string {
  const options = { env: gitEnvironment(), encoding: 'utf8' } as const;
  return execFileSync('git', ['-C', path, ...args], options).trim();
}

t.test('the same calls make the same commits', async (t) => {
  const make = (name: string) => {
    const repository = createRepository(t.testdirName, name, { 'CLAUDE.md': 'Be brief.\n' });
    return [repository.head(), repository.commit({ 'CLAUDE.md': 'Be brief and kind.\n' })];
  };
  testDirectory(t, {});
  t.same(make('one'), make('two'));
});

const odd: Record<string, FileSpec | null>[] = [
  {
    a: '1',
    'd/x': '2',
    'd.txt': '3',
    'd-a': '4',
    'd/y/z': { content: 's', mode: '100755' },
    link: { symlink: '../outside' },
    module: { submodule: '1234567890123456789012345678901234567890' },
    'a "b"\\\n': 'odd',
    'ü/é': 'x',
  },
  { d: null, 'd.txt/below': null },
  { 'a/b': 'a file becomes a folder' },
  { a: 'and a file again' },
  { 'd/y': 'q', 'd.txt': null },
  { 'git~1': 'x' },
];

t.test('a commit that is written without git has the id that git gives it', async (t) => {
  const root = testDirectory(t, {});
  const make = (name: string): string[] => {
    const [first = {}, ...rest] = odd;
    const repository = createRepository(root, name, first as Record<string, FileSpec>);
    const ids = rest.map((changes) => repository.commit(changes, 'Two\nlines\n'));
    repository.branch('other');
    return [...ids, repository.commit({ z: 'z' }, 'x', 'other'), repository.rewrite({ only: '1' })];
  };
  const written = make('written');
  t.notOk(existsSync(join(root, 'written.git/objects/pack')), 'git has written nothing');
  git(join(root, 'written.git'), 'fsck', '--full');
  t.capture(LooseCommits.prototype, 'write', () => false);
  t.strictSame(make('imported'), written);
});

t.test('a commit may have paths that newer versions of git refuse', async (t) => {
  const files = { '.git/config': 'evil', '../up': 'y' };
  const { path } = createRepository(testDirectory(t, {}), 'hostile', files);
  t.strictSame(git(path, 'ls-tree', '-r', '--name-only', 'main').split('\n').sort(), [
    '../up',
    '.git/config',
  ]);
});

t.test('git itself makes a large commit, and those that follow it', async (t) => {
  const repository = createRepository(testDirectory(t, {}), 'large', { keep: 'x' });
  const many = Array.from({ length: 101 }, (_, index) => [`many/${index}`, String(index)]);
  repository.commit(Object.fromEntries(many));
  repository.commit({ large: Buffer.alloc(17 * 1024 * 1024), 'many/0': null });
  const names = git(repository.path, 'ls-tree', '-r', '--name-only', 'main').split('\n');
  t.equal(names.length, 102);
  t.strictSame([names.includes('keep'), names.includes('many/0')], [true, false]);
  t.equal(git(repository.path, 'rev-list', '--count', 'main'), '3');
});

t.test('modes, symlinks, submodules and odd names are stored as they are given', async (t) => {
  const submodule = '1234567890123456789012345678901234567890';
  const { path } = createRepository(testDirectory(t, {}), 'odd', {
    'hooks/run': { content: Buffer.from([0, 255]), mode: '100755' },
    link: { symlink: '../outside' },
    module: { submodule },
    'a "b"\\\n': 'odd',
  });
  const listed = git(path, 'ls-tree', '-r', '-z', 'main').split('\0').filter(Boolean);
  const modesAndPaths = listed.map((line) => line.replace(/ \w+ \w+\t/, ' '));
  t.same(modesAndPaths, ['100644 a "b"\\\n', '100755 hooks/run', '120000 link', '160000 module']);
});

t.test('a commit changes, adds and deletes only the named files', async (t) => {
  const repository = createRepository(testDirectory(t, {}), 'r', {
    keep: '1',
    change: '1',
    go: '1',
  });
  const first = repository.head();
  const second = repository.commit({ change: '2', add: '2', go: null }, 'Second');
  t.equal(repository.head(), second);
  t.equal(git(repository.path, 'rev-parse', 'main^'), first);
  t.equal(git(repository.path, 'ls-tree', '-r', '--name-only', 'main'), 'add\nchange\nkeep');
  t.equal(git(repository.path, 'log', '-1', '--format=%s'), 'Second');
});

t.test('branches and tags stand where main stood, and HEAD can name another branch', async (t) => {
  const repository = createRepository(testDirectory(t, {}), 'r', { file: '1' });
  const first = repository.head();
  repository.branch('release/1');
  t.equal(repository.tag('v1'), first);
  t.not(repository.tag('v2', true), first);
  t.equal(git(repository.path, 'rev-parse', 'v2^{commit}'), first);
  repository.commit({ file: '2' });
  const fix = repository.commit({ file: '1.1' }, 'Fix', 'release/1');
  t.equal(git(repository.path, 'rev-parse', `${fix}^`), first);
  repository.setDefaultBranch('release/1');
  t.equal(git(repository.path, 'rev-parse', 'HEAD'), fix);
});

t.test('a rewritten history has one commit of just the given files', async (t) => {
  const repository = createRepository(testDirectory(t, {}), 'r', { old: '1' });
  repository.commit({ old: '2' });
  const commit = repository.rewrite({ new: '1' });
  t.equal(git(repository.path, 'rev-list', 'main'), commit);
  t.equal(git(repository.path, 'ls-tree', '-r', '--name-only', 'main'), 'new');
});

t.test('the sample repository has the files of a typical .claude repository', async (t) => {
  t.same(Object.keys(readSampleFiles()).sort(), [
    'CLAUDE.md',
    'agents/reviewer.md',
    'settings.json',
    'skills/changelog/SKILL.md',
  ]);
});
