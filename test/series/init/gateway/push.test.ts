import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { openScene, token } from '../../../init/gateway/fixture.ts';

t.test('commits that the server has already prove an update too', async (t) => {
  const scene = await openScene(t);
  const clone = await scene.clone('clone');
  const push = (...args: string[]) => scene.git(clone, 'push', 'origin', ...args);
  t.equal((await push('main:berth/late')).code, 0);
  for (let count = 0; count < 3; count++) scene.app.commit({ 'README.md': `# ${count}\n` });
  await scene.git(clone, 'pull', '--quiet');
  const ran = await push('main:berth/late');
  t.equal(ran.code, 0, ran.text);
  t.equal(scene.app.head('berth/late'), scene.app.head());
});

t.test('every other push is refused, and changes nothing on the server', async (t) => {
  const scene = await openScene(t);
  const clone = await scene.clone('clone');
  const push = (...args: string[]) => scene.git(clone, 'push', ...args);
  await scene.commit(clone, 'first');
  t.equal((await push('origin', 'HEAD:berth/fix')).code, 0);
  const before = (await scene.git(scene.app.path, 'for-each-ref')).text;
  const refuses = async (reason: RegExp, ...args: string[]) => {
    const { code, text } = await push(...args);
    t.not(code, 0, args.join(' '));
    t.match(text, reason, args.join(' '));
    t.equal((await scene.git(scene.app.path, 'for-each-ref')).text, before, args.join(' '));
  };
  await refuses(/remote rejected.*must match berth\/\*/, 'origin', 'HEAD:main');
  await refuses(/must match berth\/\*/, 'origin', 'HEAD:feature');
  await refuses(/must match berth\/\*/, 'origin', 'HEAD:Berth/fix');
  await refuses(/only branches may be pushed/, 'origin', 'HEAD:refs/tags/v1');
  await refuses(/only branches may be pushed/, 'origin', 'HEAD:refs/for/main');
  await refuses(/no branch may be deleted/, 'origin', ':berth/fix');
  await refuses(/another branch of this push is refused/, 'origin', 'HEAD:berth/new', 'HEAD:main');
  await refuses(
    /does not support|not allowed/,
    '-o',
    'merge_request.create',
    'origin',
    'HEAD:berth/new',
  );
  await refuses(/does not support/, '--signed', 'origin', 'HEAD:berth/new');

  await scene.git(clone, 'reset', '--quiet', '--hard', 'HEAD~1');
  await refuses(/fetch first|non-fast-forward/, 'origin', 'HEAD:berth/fix');
  await refuses(/would remove commits/, '--force', 'origin', 'HEAD:berth/fix');
  await scene.commit(clone, 'another first');
  await refuses(/would remove commits/, '--force', 'origin', 'HEAD:berth/fix');
  await scene.git(clone, 'checkout', '--quiet', '--orphan', 'bare');
  await scene.commit(clone, 'orphan');
  await refuses(/would remove commits/, '--force', 'origin', 'HEAD:berth/fix');

  const elsewhere = await push(scene.url('other/secret'), 'HEAD:berth/fix');
  t.match(elsewhere.text, /remote: cannot push to .*BERTH_GATEWAY_PUSH does not list it/);
  const reserved = await push(scene.url('me/claude'), 'HEAD:berth/changes');
  t.match(reserved.text, /berth uses this branch itself/);
  t.equal((await scene.git(scene.app.path, 'fsck', '--strict')).code, 0);
  t.notMatch(JSON.stringify(scene.lines), token);
});

t.test('the default branch is refused even if its name matches', async (t) => {
  const scene = await openScene(t, { environment: { BERTH_GATEWAY_BRANCHES: '*' } });
  const clone = await scene.clone('clone');
  await scene.commit(clone, 'first');
  const push = (to: string) => scene.git(clone, 'push', 'origin', `HEAD:${to}`);
  t.match((await push('main')).text, /default branch may not be pushed/);
  t.match((await push('Main')).text, /default branch may not be pushed/);
  t.equal((await push('feature')).code, 0);
});

t.test('a push that is too large is refused, and changes nothing', async (t) => {
  const scene = await openScene(t, { environment: { BERTH_GATEWAY_MAX_PUSH_BYTES: '64Ki' } });
  const clone = await scene.clone('clone');
  writeFileSync(`${clone}/noise.bin`, randomBytes(3_000_000));
  await scene.git(clone, 'add', '.');
  await scene.commit(clone, 'large');
  const { code, text } = await scene.git(clone, 'push', 'origin', 'HEAD:berth/large');
  t.not(code, 0);
  t.match(text, /more than 64Ki at once: the limit of BERTH_GATEWAY_MAX_PUSH_BYTES/);
  t.notOk((await scene.git(scene.app.path, 'for-each-ref')).text.includes('berth/large'));
});
