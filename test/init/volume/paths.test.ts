import t from 'tap';
import { unsafePath, unsafeTarget } from '../../../init/volume/paths.ts';
import { isExecutableConfiguration } from '../../../shared/executable-configuration.ts';

t.test('paths outside the volume and paths of reserved files are unsafe', async (t) => {
  const unsafe = [
    '../x',
    'a/../x',
    '/etc/passwd',
    'a//b',
    './a',
    '',
    'a\\b',
    'a\0b',
    '.git/config',
    '.GIT/config',
    'a/.git/hooks/x',
    '.git./x',
    '.git /x',
    'git~1/x',
    '.g\u200cit/x',
    '.git::$INDEX_ALLOCATION/x',
    '.credentials.json',
    '.Credentials.JSON',
    '.credentials.json.tmp.00000000',
    '.claude.json',
    '.ｃlaude.json',
    '.berth/applied.json',
    '.BERTH/x',
    'backups/.claude.json.backup.9',
    'Backups/.CLAUDE.json',
    `a/${'x'.repeat(256)}`,
    'a\ufffdb',
  ];
  for (const path of unsafe) t.ok(unsafePath(path), JSON.stringify(path));
});

t.test('ordinary paths are safe', async (t) => {
  const safe = [
    'CLAUDE.md',
    'a/b/c',
    '.gitignore',
    '.github/x',
    'a/.credentials.json',
    'backups/notes.md',
    'a/backups/.claude.json',
    'flake.lock',
  ];
  for (const path of [...safe, '...', 'a b', 'ünï', 'git', '.mcp.json']) {
    t.equal(unsafePath(path), undefined, path);
  }
});

t.test('a symlink may point only to a path on the volume that is not reserved', async (t) => {
  const cases: [string, string, boolean][] = [
    ['a', 'b', true],
    ['a/b', '../c', true],
    ['a/b/c', '../../d/e', true],
    ['a/b', './c', true],
    ['a/b', '..', false],
    ['a', '.', false],
    ['a/b', '.', true],
    ['a', '..', false],
    ['a', '../b', false],
    ['a/b', '../../c', false],
    ['a/b', 'c/../../d', false],
    ['a', '/etc', false],
    ['a', '', false],
    ['a', '.credentials.json', false],
    ['a/b', '../.berth/applied.json', false],
    ['a', '.git', false],
  ];
  for (const [path, target, safe] of cases) {
    t.equal(unsafeTarget(path, target) === undefined, safe, `${path} -> ${target}`);
  }
});

t.test('each file that can make the CLI run a program is executable configuration', async (t) => {
  for (const path of [
    'settings.json',
    'settings.local.json',
    '.mcp.json',
    'hooks/a.sh',
    'skills/x/SKILL.md',
    'agents/a.md',
    'commands/a/b.md',
    'plugins/x',
    'output-styles/a.md',
    'workflows/a.js',
    '.config.json',
  ]) {
    t.ok(isExecutableConfiguration(path), path);
  }
  for (const path of ['CLAUDE.md', 'docs/settings.json', 'memory/hooks.md']) {
    t.notOk(isExecutableConfiguration(path), path);
  }
});
