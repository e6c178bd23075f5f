import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Mode, Tree } from '../../../../init/git/tree.ts';
import { findMisplaced } from '../../../../init/volume/misplaced.ts';
import { openHarbour } from '../../../init/fixture.ts';
import { runProgram } from '../../../init/process.ts';

const treeWith = (paths: readonly string[], mode: Mode = '100644'): Tree =>
  new Map(paths.map((path) => [path, { mode, oid: '1'.repeat(40) }]));

const found = (paths: readonly string[], directory: string | null = null) =>
  findMisplaced(treeWith(paths), directory)?.directories;

t.test('a repository that the CLI reads at its root causes no warning', (t) => {
  const read = [
    ...['CLAUDE.md', 'settings.json', '.config.json', 'skills/a/SKILL.md', 'agents/a.md'],
    ...['commands/team/deploy.md', 'output-styles/a.md', 'rules/a/b.md', 'workflows/a.js'],
    'plugins/installed_plugins.json',
  ];
  for (const path of read) {
    t.equal(found([path, '.claude/CLAUDE.md']), undefined, path);
    t.equal(found([`home/.claude/${path}`], 'home/.claude'), undefined, `${path} in a directory`);
  }
  for (const path of ['skills', 'skills/a', 'CLAUDE.md']) {
    t.equal(findMisplaced(treeWith([path], '120000'), null), undefined, `${path} as a symlink`);
  }
  t.end();
});

t.test('files that the CLI would read are found in other directories', (t) => {
  const cases: [paths: string[], directories: string[]][] = [
    [['README.md', '.claude/CLAUDE.md', '.claude/skills/a/SKILL.md'], ['.claude']],
    [['vscode/settings.json', 'claude/settings.json'], ['claude']],
    [['home/.claude/agents/a.md', 'zsh/.zshrc'], ['home/.claude']],
    [['claude/.claude/CLAUDE.md', 'claude/.claude/hooks/CLAUDE.md'], ['claude/.claude']],
    [['dot_claude/settings.json', 'hooks/post-checkout'], ['dot_claude']],
    [['ai/CLAUDE.md'], ['ai']],
    [['ai/settings.json', 'ai/commands/a.md'], ['ai']],
    // The likeliest first.
    [
      ['a/CLAUDE.md', 'a/settings.json', 'z/.claude/CLAUDE.md', 'b/CLAUDE.md'],
      ['z/.claude', 'a', 'b'],
    ],
    // Of other programs, or not written to the volume.
    [['vscode/settings.json', 'README.md', 'docs/commands/a.md'], []],
    [['.git/CLAUDE.md', 'hooks/a.sh', 'skills/README.md'], []],
    [[], []],
  ];
  for (const [paths, directories] of cases) t.same(found(paths), directories, paths.join());
  t.same(findMisplaced(treeWith(['.claude'], '160000'), null)?.directories, [], 'a submodule');
  const many = Array.from({ length: 50 }, (_, index) => `d${index}/CLAUDE.md`);
  t.equal(found(many)?.length, 5, 'of many only some');
  t.end();
});

t.test('a directory that has nothing at its root is no better than the root', (t) => {
  const paths = ['home/.claude/CLAUDE.md', 'claude/README.md'];
  t.same(found(paths, 'home'), ['home/.claude']);
  t.same(found(paths, 'claude'), ['home/.claude']);
  const { message = '' } = findMisplaced(treeWith(paths), 'claude') ?? {};
  t.match(message, /nothing of claude of the repository.*; set BERTH_REPO_PATH=home\/\.claude$/);
  t.end();
});

t.test('a large repository of deep directories ends in no finding', (t) => {
  const deep = 'commands/'.repeat(60);
  const paths = Array.from({ length: 100_000 }, (_, index) => `${deep}${index}.txt`);
  t.same(found(paths), []);
  t.end();
});

t.test(
  'init and --check report that no file takes effect, and name the setting to change',
  async (t) => {
    const harbour = await openHarbour(t, {
      'README.md': '# dotfiles\n',
      '.claude/CLAUDE.md': '# rules\n',
      '.claude/skills/a/SKILL.md': 'a\n',
    });
    const { problem = '' } = await harbour.run();
    t.match(problem, /in \.claude \(CLAUDE\.md, skills\/\); set BERTH_REPO_PATH=\.claude$/);
    t.match(harbour.events('repository_unread'), [
      { level: 'warn', msg: problem, directories: ['.claude'] },
    ]);
    const report = join(harbour.volume, '.berth/report.json');
    t.equal(JSON.parse(readFileSync(report, 'utf8')).problem, problem);
    const check = (overrides = {}) =>
      runProgram(harbour.environment(overrides), { arguments: ['--check'] });
    const { code, output } = await check();
    t.equal(code, 0, 'the volume is as the repository has it');
    t.ok(output.includes(`unread      ${problem}\n`), output);
    const asTold = { BERTH_REPO_PATH: '.claude' };
    t.equal((await harbour.run(asTold)).problem, undefined);
    t.equal(harbour.events('repository_unread').length, 1);
    t.notMatch((await check(asTold)).output, /^unread/m);
  },
);

t.test('a repository with nothing for the CLI is called that', async (t) => {
  const harbour = await openHarbour(t, { 'README.md': 'x\n' });
  const { problem } = await harbour.run();
  t.match(
    problem,
    /no CLAUDE\.md, no settings\.json .*; move them to the root, or set BERTH_REPO_PATH/,
  );
  t.match(harbour.events('repository_unread'), [{ directories: [] }]);
});
