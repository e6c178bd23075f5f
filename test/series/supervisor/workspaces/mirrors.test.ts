import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
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
import { openWorkshop } from '../../../supervisor/workspaces/fixture.ts';
import { createRepository } from '../../../support/repository.ts';

const mirrorsIn = (root: string) => readdirSync(join(root, 'mirrors'));

t.test(
  'the least recently used mirrors are removed, and sessions keep their checkouts',
  async (t) => {
    const { make, scene, root, log } = await openWorkshop(t, { most: 2 });
    const repositories = join(scene.directory, 'repositories');
    createRepository(repositories, 'me/b', { b: 'b' });
    createRepository(repositories, 'me/c', { c: 'c' });
    const one = await make({ repo: 'me/app' });
    await make({ repo: 'me/b' });
    await make({ repo: 'me/c' });
    t.equal(mirrorsIn(root).length, 2);
    await log.logged('mirror_removed', ({ reason }) => reason === 'bound');
    t.equal((await one.git('fsck', '--full')).code, 0);
  },
);

t.test('a mirror counts in full, and is removed while no work runs on it', async (t) => {
  const { make, again, mirrors, scene } = await openWorkshop(t);
  await make({ repo: 'me/app' });
  const next = again();
  await next.checkouts.open();
  t.ok(next.mirrors.usage.bytes >= mirrors.usage.bytes, 'the links of the checkout do not count');
  const steps: string[] = [];
  const removed = mirrors.discard('me/app', 'damaged').then(() => steps.push('removed'));
  const signal = new AbortController().signal;
  const request = { repo: 'me/app', commits: [scene.app.head()], depth: undefined, signal };
  await mirrors.use(request, async ({ fetched }) => steps.push(fetched ? 'fetched' : 'found'));
  await removed;
  t.strictSame(steps, ['removed', 'fetched']);
});

t.test('a repository above the bound of bytes is refused, and its mirror removed', async (t) => {
  const { make, scene, root } = await openWorkshop(t, { mostBytes: 300_000 });
  const noise = Buffer.from(Array.from({ length: 600_000 }, (_, index) => (index * 7919) % 251));
  scene.app.commit({ noise: Buffer.concat([noise, randomBytes(600_000)]) });
  await t.rejects(make({ repo: 'me/app' }), {
    code: 'workspace_too_large',
    message: /BERTH_MIRRORS_SIZE/,
  });
  t.strictSame(mirrorsIn(root), []);
});

t.test('what a fetch that broke has left is removed, and what stays is counted', async (t) => {
  const { make, mirrors, scene, root } = await openWorkshop(t);
  const { app, server } = scene;
  app.commit({ noise: randomBytes(500_000) });
  const path = join(root, 'mirrors');
  const first = { ref: app.head() };
  server.fault({ kind: 'drop', afterBytes: 200_000 });
  await t.rejects(make({ repo: 'me/app', ...first }), { code: 'workspace_unavailable' });
  server.fault(undefined);
  await t.rejects(make({ repo: 'me/absent', ...first }), { code: 'workspace_not_found' });
  t.strictSame(readdirSync(path), []);
  t.strictSame(mirrors.usage, { count: 0, bytes: 0 });
  await make({ repo: 'me/app' });
  const [name = ''] = readdirSync(path);
  const packs = readdirSync(join(path, name, 'objects/pack'));
  const before = mirrors.usage;
  app.commit({ noise: randomBytes(500_000) });
  server.fault({ kind: 'drop', afterBytes: 200_000 });
  await t.rejects(make({ repo: 'me/app' }), { code: 'workspace_unavailable' });
  t.strictSame(readdirSync(join(path, name, 'objects/pack')), packs);
  t.equal(mirrors.usage.count, 1);
  t.ok(mirrors.usage.bytes < before.bytes + 100_000);
});

t.test('a mirror that a kill has torn, or that is damaged, is mended or made again', async (t) => {
  const workshop = await openWorkshop(t);
  const { root, scene } = workshop;
  await workshop.make({ repo: 'me/app' });
  const [name = ''] = mirrorsIn(root);
  const mirror = join(root, 'mirrors', name);
  const pack = () => {
    const files = readdirSync(join(mirror, 'objects/pack'));
    return join(mirror, 'objects/pack', files.find((file) => file.endsWith('.pack')) ?? '');
  };
  const damages: Record<string, () => void> = {
    'locks and half packs': () => {
      writeFileSync(join(mirror, 'shallow.lock'), '');
      writeFileSync(join(mirror, 'refs/berth', `${'a'.repeat(40)}.lock`), '');
      writeFileSync(join(mirror, 'objects/pack/tmp_pack_x'), 'half');
    },
    'no configuration': () => {
      writeFileSync(join(mirror, 'config'), '[garbage');
      writeFileSync(join(mirror, 'HEAD'), '');
    },
    // A new inode: sessions have links to the old one.
    'a cut pack': () => {
      const content = readFileSync(pack());
      const path = pack();
      rmSync(path);
      writeFileSync(path, content);
      truncateSync(path, 100);
    },
  };
  for (const [what, damage] of Object.entries(damages)) {
    damage();
    const next = workshop.again();
    await next.checkouts.open();
    const one = await next.make({ repo: 'me/app' });
    t.equal((await one.git('status', '--porcelain')).text, '', what);
    scene.app.commit({ what });
    const two = await next.make({ repo: 'me/app' });
    t.equal(readFileSync(join(two.directory, 'what'), 'utf8'), what);
    t.equal((await two.git('fsck', '--full')).code, 0, what);
    t.notOk(existsSync(join(mirror, 'objects/pack/tmp_pack_x')));
  }
});

t.test('a mirror with a damaged object is made again when a fetch needs that object', async (t) => {
  const { make, scene, root, log } = await openWorkshop(t);
  const big = randomBytes(300_000).toString('base64');
  scene.app.commit({ big });
  await make({ repo: 'me/app' });
  const [name = ''] = mirrorsIn(root);
  const packs = join(root, 'mirrors', name, 'objects/pack');
  const pack = join(packs, readdirSync(packs).find((file) => file.endsWith('.pack')) ?? '');
  const content = readFileSync(pack);
  for (let at = 0; at < 64; at++) {
    const place = Math.floor(content.length / 2) + at;
    content.writeUInt8(content.readUInt8(place) ^ 0x55, place);
  }
  // A new inode: sessions have links to the old one.
  rmSync(pack);
  writeFileSync(pack, content);
  // git sends the difference to the big file alone.
  scene.app.commit({ big: `x${big}` });
  const two = await make({ repo: 'me/app' });
  t.equal((await two.git('fsck', '--full')).code, 0);
  await log.logged('mirror_removed', ({ reason }) => reason === 'damaged');
});

t.test('nothing that a session plants in a mirror is run or followed', async (t) => {
  const { make, root, scene } = await openWorkshop(t);
  await make({ repo: 'me/app' });
  const [name = ''] = mirrorsIn(root);
  const mirror = join(root, 'mirrors', name);
  const planted = join(root, 'planted');
  mkdirSync(join(mirror, 'hooks'));
  const script = `#!/bin/sh\ntouch '${planted}'\n`;
  for (const hook of ['reference-transaction', 'post-checkout', 'post-index-change']) {
    writeFileSync(join(mirror, 'hooks', hook), script, { mode: 0o755 });
  }
  const config = `[core]\n\tfsmonitor = "touch '${planted}'"\n\tsshCommand = "touch '${planted}'"\n`;
  const url = '[url "ext::sh -c touch% planted"]\n\tinsteadOf = "http://"\n';
  writeFileSync(join(mirror, 'config'), config + url);
  writeFileSync(join(mirror, 'objects/info/alternates'), '/elsewhere\n');
  scene.app.commit({ more: 'x' });
  const two = await make({ repo: 'me/app' });
  t.equal(readFileSync(join(two.directory, 'more'), 'utf8'), 'x');
  t.notOk(existsSync(planted));
  t.notOk(existsSync(join(mirror, 'hooks')));
});

t.test('a mirror that is a symlink is refused', async (t) => {
  const workshop = await openWorkshop(t);
  const { make, root } = workshop;
  await make({ repo: 'me/app' });
  const [name = ''] = mirrorsIn(root);
  renameSync(join(root, 'mirrors', name), join(root, 'elsewhere'));
  symlinkSync(join(root, 'elsewhere'), join(root, 'mirrors', name));
  await t.rejects(make({ repo: 'me/app' }), { code: 'volume_unwritable', message: /symlink/ });
});

t.test('a hostile repository is checked out as git has it, and runs nothing', async (t) => {
  const { make, scene, root } = await openWorkshop(t);
  const planted = join(root, 'planted');
  scene.app.commit({
    '.gitattributes': '*.bin filter=lfs diff=lfs\n* filter=evil\n',
    '.gitmodules': `[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch '${planted}'\n`,
    'a\nname': 'x',
    'Case.txt': 'one',
    'case.txt': 'two',
    escape: { symlink: '../../../../etc' },
    'hooks/post-checkout': { content: `#!/bin/sh\ntouch '${planted}'\n`, mode: '100755' },
  });
  const one = await make({ repo: 'me/app' });
  t.match(one.prepared.warnings, [/Git LFS/, /submodules/]);
  t.equal(readFileSync(join(one.directory, 'case.txt'), 'utf8'), 'two');
  t.equal(readFileSync(join(one.directory, 'Case.txt'), 'utf8'), 'one');
  t.notOk(existsSync(planted));
});
