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
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import type { Content } from '../../../supervisor/configuration/entries.ts';
import { PutBack } from '../../../supervisor/configuration/put-back.ts';
import { testDirectory } from '../../support/directory.ts';

function open(t: Test) {
  const place = testDirectory(t, { root: {}, state: {}, outside: { key: 'secret' } });
  const root = join(place, 'root');
  const state = join(place, 'state');
  const edit = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  return { root, state, outside: join(place, 'outside'), edit, putBack: new PutBack(root, state) };
}

function content(text: string, changes: Partial<Content> = {}): Content {
  return { kind: 'file', bytes: Buffer.from(text), executable: false, oid: '', ...changes };
}

t.test('a changed file gets its content back, and the change is saved by its path', async (t) => {
  const { root, edit, putBack } = open(t);
  edit('hooks/check.sh', 'edited');
  const saved = putBack.restore('hooks/check.sh', content('right', { executable: true })) ?? '';
  t.equal(readFileSync(join(root, 'hooks/check.sh'), 'utf8'), 'right');
  t.equal(lstatSync(join(root, 'hooks/check.sh')).mode & 0o777, 0o755);
  t.match(saved, /\/conflicts\/[^/]+-serve-[0-9a-f]+\/1\/hooks\/check\.sh$/);
  t.equal(readFileSync(saved, 'utf8'), 'edited');
});

t.test('a file that was removed comes back, and nothing is saved', async (t) => {
  const { root, state, putBack } = open(t);
  t.equal(putBack.restore('agents/deep/one.md', content('right')), undefined);
  t.equal(readFileSync(join(root, 'agents/deep/one.md'), 'utf8'), 'right');
  t.notOk(existsSync(join(state, 'conflicts')));
});

t.test('a parent that became a symlink is set aside, and nothing behind it changes', async (t) => {
  const { root, outside, putBack } = open(t);
  symlinkSync(outside, join(root, 'hooks'));
  putBack.restore('hooks/key', content('right'));
  t.equal(readFileSync(join(outside, 'key'), 'utf8'), 'secret');
  t.ok(lstatSync(join(root, 'hooks')).isDirectory());
  t.equal(readFileSync(join(root, 'hooks/key'), 'utf8'), 'right');
});

t.test('a symlink of upstream is made as a symlink', async (t) => {
  const { root, edit, putBack } = open(t);
  edit('skills/one', 'a file');
  putBack.restore('skills/one', content('../shared', { kind: 'symlink' }));
  t.equal(readlinkSync(join(root, 'skills/one')), '../shared');
});

t.test('a private file is replaced with mode 600, and its old content is saved', async (t) => {
  const { root, edit, putBack } = open(t);
  edit('.claude.json', 'old');
  const saved = putBack.replace('.claude.json', Buffer.from('new')) ?? '';
  t.equal(readFileSync(join(root, '.claude.json'), 'utf8'), 'new');
  t.equal(lstatSync(join(root, '.claude.json')).mode & 0o777, 0o600);
  t.equal(readFileSync(saved, 'utf8'), 'old');
});

t.test('paths that are set aside together are in one directory', async (t) => {
  const { root, edit, putBack } = open(t);
  edit('hooks/a', 'one');
  edit('hooks/b', 'two');
  const saved = putBack.setAllAside(['hooks/a', 'hooks/b']) ?? '';
  t.same(readdirSync(saved).sort(), ['a', 'b']);
  t.same(readdirSync(join(root, 'hooks')), []);
});

t.test('a write that fails leaves no temporary file', async (t) => {
  const { state, root, edit, putBack } = open(t);
  edit('hooks/a', 'one');
  const toNowhere = content('\0', { kind: 'symlink' });
  t.throws(() => putBack.restore('hooks/a', toNowhere));
  t.same(readdirSync(state), ['conflicts']);
  t.same(readdirSync(join(root, 'hooks')), [], 'what a tool wrote is not left in place');
});
