import { readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { branch, openWorkshop } from '../../../supervisor/workspaces/fixture.ts';

t.test(
  'a failed push keeps the commits and names the cause; the next push sends the commits',
  async (t) => {
    const { make, end, scene } = await openWorkshop(t);
    const one = await make({ repo: 'me/app' });
    writeFileSync(join(one.directory, 'new.txt'), 'x');
    scene.server.fault({ kind: 'status', status: 503, times: 50 });
    const failed = await end(one, {});
    t.match(failed, { branch: null, problem: { code: 'publish_failed', retryable: true } });
    t.match(failed.problem?.detail, /503|try again/);
    scene.server.fault(undefined);
    const done = await end(one, {});
    t.match(done, { branch, commit: failed.commit, problem: undefined });
    t.equal(scene.app.head(branch), done.commit);
    const late = await end(one, {}, AbortSignal.abort());
    t.match(late.problem, { code: 'publish_failed' });
  },
);

t.test(
  'a push that the gateway or the branch does not allow is refused and names the rule',
  async (t) => {
    const { make, end, scene } = await openWorkshop(t, {}, { BERTH_GATEWAY_REPOS: 'me/*' });
    const one = await make({ repo: 'me/app' });
    writeFileSync(join(one.directory, 'new.txt'), 'x');
    t.match((await end(one, { branch: 'main' })).problem, {
      code: 'publish_refused',
      detail: /must match berth\/\*/,
    });
    scene.app.branch('berth/mine');
    scene.app.commit({ moved: 'x' }, 'By another', 'berth/mine');
    const moved = await end(one, { branch: 'berth/mine' });
    t.match(moved.problem, { code: 'publish_refused', detail: /has commits that the session/ });
    const other = await make({ repo: 'me/App' });
    writeFileSync(join(other.directory, 'new.txt'), 'x');
    t.match((await end(other, {})).problem, {
      code: 'publish_refused',
      detail: /BERTH_GATEWAY_PUSH/,
    });
  },
);

t.test('a checkout that has only a folder publishes the whole tree', async (t) => {
  const { make, end, scene } = await openWorkshop(t);
  scene.app.commit({ 'a/b/c.txt': 'c', 'z/y.txt': 'y' });
  const one = await make({ repo: 'me/app', path: 'a/b', depth: 1 });
  writeFileSync(join(one.directory, 'a/b/new.txt'), 'x');
  const { diff_stat } = await end(one, {});
  t.strictSame(diff_stat, { files: 1, insertions: 1, deletions: 0 });
  t.equal(scene.app.head(branch).length, 40);
});

t.test(
  'a replaced git directory is refused, and no file is read through that directory',
  async (t) => {
    const { make, end, scene, root } = await openWorkshop(t);
    const other = await make({ repo: 'me/app' });
    const plant = async (what: (own: string, directory: string) => void, detail: RegExp) => {
      const one = await make({ repo: 'me/app' });
      writeFileSync(join(one.directory, 'new.txt'), 'x');
      what(join(one.directory, '.git'), one.directory);
      t.match((await end(one, {})).problem, { code: 'publish_refused', detail });
    };
    await plant((own) => {
      rmSync(own, { recursive: true });
      writeFileSync(own, `gitdir: ${join(other.directory, '.git')}\n`);
    }, /\.git is no directory/);
    await plant((own) => {
      rmSync(own, { recursive: true });
      symlinkSync(join(other.directory, '.git'), own);
    }, /\.git is no directory/);
    await plant((own) => {
      writeFileSync(join(own, 'objects/info/alternates'), join(other.directory, '.git/objects'));
    }, /alternates/);
    await plant((own) => writeFileSync(join(own, 'HEAD'), 'ref: refs/../../x\n'), /HEAD names/);
    await plant((own) => {
      rmSync(join(own, 'HEAD'));
      symlinkSync('/etc/passwd', join(own, 'HEAD'));
    }, /HEAD cannot be read/);
    await plant((own) => writeFileSync(join(own, 'refs/heads/main'), 'zz\n'), /has no commit/);
    await plant((own) => writeFileSync(join(own, 'refs/heads/main.lock'), ''), /cannot be written/);
    await plant((own) => {
      writeFileSync(join(own, 'refs/heads/main'), `${'a'.repeat(40)}\n`);
    }, /cannot read the checkout/);
    const damaged = await make({ repo: 'me/app' });
    writeFileSync(join(damaged.directory, 'new.txt'), 'x');
    writeFileSync(join(damaged.directory, '.git/index'), 'damaged');
    t.match(await end(damaged, {}), { diff_stat: { files: 1 }, problem: undefined });
    t.equal(scene.app.head(branch).length, 40);
    t.strictSame(readdirSync(join(root, 'staging')), []);
  },
);
