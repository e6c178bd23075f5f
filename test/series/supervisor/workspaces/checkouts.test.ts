import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openWorkshop } from '../../../supervisor/workspaces/fixture.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';

t.test('two sessions get their checkouts of one repository at the same time', async (t) => {
  const { make, root } = await openWorkshop(t);
  const all = await Promise.all(Array.from({ length: 4 }, () => make({ repo: 'me/app' })));
  for (const { git } of all) t.equal((await git('status', '--porcelain')).text, '');
  t.equal(readdirSync(join(root, 'mirrors')).length, 1);
  t.strictSame(readdirSync(join(root, 'staging')), []);
});

t.test('the checkout has the requested branch, tag, commit, folder and depth', async (t) => {
  const { make, scene } = await openWorkshop(t);
  const first = scene.app.head();
  scene.app.tag('v1', true);
  scene.app.branch('feature');
  scene.app.commit({ 'a/b/c.txt': 'c', 'a/x.txt': 'x', 'z/y.txt': 'y' }, 'More', 'feature');
  const feature = await make({ repo: 'me/app', ref: 'feature' });
  t.match(feature.state, { start: scene.app.head('feature'), base_branch: 'feature' });
  t.equal((await make({ repo: 'me/app', ref: 'v1' })).state.start, first);
  const detached = await make({ repo: 'me/app', ref: first });
  t.match(detached.note, 'detached HEAD');
  const folder = await make({ repo: 'me/app', ref: 'feature', path: 'a/b' });
  t.ok(existsSync(join(folder.directory, 'a/b/c.txt')));
  t.ok(existsSync(join(folder.directory, 'a/x.txt')), 'the files above the folder');
  t.notOk(existsSync(join(folder.directory, 'z')));
  t.equal((await folder.git('status', '--porcelain')).text, '');
});

t.test('depth bounds the history, until a session wants all of it', async (t) => {
  const { make, scene } = await openWorkshop(t);
  for (let index = 0; index < 5; index++) scene.app.commit({ n: String(index) });
  const count = async ({ git }: Awaited<ReturnType<typeof make>>) =>
    Number((await git('rev-list', '--count', 'HEAD')).text);
  t.equal(await count(await make({ repo: 'me/app', depth: 2 })), 2);
  t.equal(await count(await make({ repo: 'me/app', depth: 4 })), 4);
  t.equal(await count(await make({ repo: 'me/app' })), 6);
  t.equal(await count(await make({ repo: 'me/app', depth: 1 })), 6, 'it is there already');
});

t.test('a pull request without a common commit has no base', async (t) => {
  const { make, scene, pulls } = await openWorkshop(t);
  scene.app.branch('feature');
  scene.app.rewrite({ alone: 'x' }, 'Alone', 'feature');
  await scene.git(scene.app.path, 'update-ref', 'refs/pull/1/head', 'feature');
  pulls.opened.push({ title: 'T', body: '', head: 'feature', base: 'main', state: 'open' });
  const one = await make({ repo: 'me/app', pull_request: 1 }, { instructions: () => true });
  t.equal(one.state.base, null);
  t.match(one.note, 'has no common commit with its base');
});

t.test('a checkout that was cut is made again', async (t) => {
  const { make } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  writeFileSync(join(one.directory, '.git/berth-incomplete'), '');
  rmSync(join(one.directory, 'README.md'));
  const saved = { saved: one.state, directory: one.directory };
  const again = await make({ repo: 'me/app' }, saved);
  t.ok(existsSync(join(again.directory, 'README.md')));
});

t.test('a copy of a session gets its commit, and publishes to a branch of its own', async (t) => {
  const { make, end } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  writeFileSync(join(one.directory, 'new.txt'), 'new');
  const { commit } = await end(one, {});
  const fork = await make({ repo: 'me/app' }, { saved: one.state, fork: true });
  t.match(fork.state, { commit, branch: null });
  t.notOk(fork.prepared.remade);
  t.strictSame(fork.prepared.warnings, []);
  t.match(fork.note, /is a copy.* changes that were not published before are not in it/);
  await one.git('commit', '--quiet', '--allow-empty', '-m', 'Not published');
  await end(one);
  const other = await make({ repo: 'me/app' }, { saved: one.state, fork: true });
  t.equal((await other.git('rev-parse', 'HEAD')).text.trim(), one.state.start);
  t.match(other.prepared.warnings, [/does not have its later commits/]);
  t.match(other.note, `at the commit ${one.state.start}`);
});

t.test(
  'a disk that is full ends a checkout with its code, and the next one is whole',
  { skip: cannotMount },
  async (t) => {
    const { make, scene, root } = await openWorkshop(t);
    mkdirSync(root);
    scene.app.commit({ noise: randomBytes(700_000) });
    using volume = mountSmall(root, 'size=900k');
    const failure = await make({ repo: 'me/app' }).catch((error: unknown) => error);
    t.match(failure, { code: 'disk_full' });
    volume.mount('remount,size=20m');
    const one = await make({ repo: 'me/app' });
    t.equal((await one.git('status', '--porcelain')).text, '');
    t.equal((await one.git('fsck', '--full')).code, 0);
  },
);
