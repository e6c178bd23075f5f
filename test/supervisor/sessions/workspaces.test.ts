import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Workspaces } from '../../../supervisor/sessions/workspaces.ts';
import { testDirectory } from '../../support/directory.ts';

function open(t: Test) {
  const root = join(testDirectory(t, { work: {}, elsewhere: { 'keep.txt': 'kept' } }), 'work');
  return { root, elsewhere: join(root, '../elsewhere'), workspaces: new Workspaces(root) };
}

t.test('all sessions that share a directory use the workspace itself', async (t) => {
  const { root, workspaces } = open(t);
  const shared = { path: root, mode: 'shared' } as const;
  t.strictSame(workspaces.make('worker-1', 'shared'), shared);
  workspaces.bind('worker-1');
  t.strictSame(workspaces.directoryOf('worker-1'), shared);
  await workspaces.ended('worker-1');
  t.throws(() => workspaces.directoryOf('worker-1'), { code: 'cli_unavailable' });
  await workspaces.remove(shared);
  t.ok(existsSync(root));
});

t.test(
  'a directory of its own is there at once, closed to others, and no two are the same',
  async (t) => {
    const { root, workspaces } = open(t);
    const one = workspaces.make('worker-1', 'session');
    const two = workspaces.make('worker-2', 'session');
    t.not(one.path, two.path);
    for (const { path } of [one, two]) {
      t.ok(path.startsWith(join(root, 'sessions/')));
      t.equal(statSync(path).mode & 0o777, 0o700);
    }
  },
);

t.test(
  'the directory of a worker that never served is removed; a used directory stays',
  async (t) => {
    const { workspaces } = open(t);
    const idle = workspaces.make('worker-1', 'session');
    const used = workspaces.make('worker-2', 'session');
    workspaces.bind('worker-2');
    t.strictSame(workspaces.directoryOf('worker-2'), used);
    await workspaces.ended('worker-1');
    await workspaces.ended('worker-2');
    t.notOk(existsSync(idle.path));
    t.ok(existsSync(used.path));
    await workspaces.ended('worker-2');
  },
);

t.test(
  'a session is resumed in its directory, also if the workspace was lost or moved',
  async (t) => {
    const { root, workspaces } = open(t);
    const recorded = { path: `/old/root/sessions/${'a'.repeat(24)}`, mode: 'session' } as const;
    const made = workspaces.make('worker-1', 'shared', recorded);
    t.strictSame(made, { path: join(root, 'sessions', 'a'.repeat(24)), mode: 'session' });
    writeFileSync(join(made.path, 'work.txt'), 'work');
    await workspaces.ended('worker-1');
    const again = workspaces.make('worker-2', 'session', recorded);
    t.ok(existsSync(join(again.path, 'work.txt')), 'what was in it is still there');
    const shared = workspaces.make('worker-3', 'session', { path: '/old/root', mode: 'shared' });
    t.strictSame(shared, { path: root, mode: 'shared' }, 'one that shared goes on sharing');
  },
);

t.test('a path that berth cannot have given is neither used nor removed', async (t) => {
  const { root, elsewhere, workspaces } = open(t);
  mkdirSync(join(root, 'sessions/mine'), { recursive: true });
  for (const path of [
    elsewhere,
    root,
    '/',
    '',
    join(root, 'sessions/mine'),
    `${root}/sessions/..`,
  ]) {
    const planted = { path, mode: 'session' } as const;
    await workspaces.remove(planted);
    t.match(workspaces.make('worker-1', 'session', planted).path, /\/sessions\/[0-9a-f]{24}$/);
  }
  t.ok(existsSync(join(elsewhere, 'keep.txt')));
  t.ok(existsSync(join(root, 'sessions/mine')));
});

t.test('remove deletes read-only files inside, but not the target of a symlink', async (t) => {
  const { elsewhere, workspaces } = open(t);
  const { path } = workspaces.make('worker-1', 'session');
  mkdirSync(join(path, 'a/b'), { recursive: true });
  writeFileSync(join(path, 'a/b/file'), 'x');
  symlinkSync(elsewhere, join(path, 'a/link'));
  chmodSync(join(path, 'a/b'), 0o500);
  chmodSync(join(path, 'a'), 0o000);
  await workspaces.remove({ path, mode: 'session' });
  t.notOk(existsSync(path));
  t.ok(existsSync(join(elsewhere, 'keep.txt')));
});

t.test('a symlink in the place of a directory is an error, never followed', async (t) => {
  const { root, elsewhere, workspaces } = open(t);
  const name = 'b'.repeat(24);
  mkdirSync(join(root, 'sessions'));
  symlinkSync(elsewhere, join(root, 'sessions', name));
  const recorded = { path: join(root, 'sessions', name), mode: 'session' } as const;
  t.throws(() => workspaces.make('worker-1', 'session', recorded), {
    code: 'volume_unwritable',
    message: /it is a symlink; remove it/,
  });
  await workspaces.remove(recorded);
  t.ok(existsSync(join(elsewhere, 'keep.txt')));
});

t.test('a symlink in place of the sessions directory is never followed', async (t) => {
  const { root, elsewhere, workspaces } = open(t);
  const name = 'c'.repeat(24);
  mkdirSync(join(elsewhere, name));
  symlinkSync(elsewhere, join(root, 'sessions'));
  await workspaces.remove({ path: join(root, 'sessions', name), mode: 'session' });
  t.same(await workspaces.names(), []);
  t.equal(await workspaces.sweep([name], []), 0);
  t.ok(existsSync(join(elsewhere, name)));
  t.throws(() => workspaces.make('worker-1', 'session'), { code: 'volume_unwritable' });
});

t.test(
  'orphans are removed; directories of sessions and directories not from berth stay',
  async (t) => {
    const { root, workspaces } = open(t);
    t.same(await workspaces.names(), [], 'there is nothing yet');
    const kept = workspaces.make('worker-1', 'session');
    workspaces.make('worker-2', 'session');
    const other = workspaces.make('worker-3', 'session');
    mkdirSync(join(root, 'sessions/mine'));
    const next = new Workspaces(root);
    const found = await next.names();
    const resumed = next.make('worker-1', 'session', other);
    const fresh = next.make('worker-2', 'session');
    t.equal(await next.sweep(found, [kept, { path: root, mode: 'shared' }]), 1);
    t.strictSame(
      readdirSync(join(root, 'sessions')).sort(),
      [...[kept, resumed, fresh].map(({ path }) => path.slice(-24)), 'mine'].sort(),
    );
  },
);
