import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openScene, token } from '../../../init/gateway/fixture.ts';

t.test('git clones and fetches without a token, also shallow and partial', async (t) => {
  const scene = await openScene(t);
  const { app, server, lines } = scene;
  const whole = await scene.clone('whole');
  t.equal(readFileSync(join(whole, 'README.md'), 'utf8'), '# one\n');
  t.notMatch(readFileSync(join(whole, '.git/config'), 'utf8'), token);
  t.ok(server.requests.some(({ headers }) => headers['git-protocol'] === 'version=2'));

  app.commit({ 'README.md': '# two\n' });
  t.equal((await scene.git(whole, 'pull', '--quiet')).code, 0);
  t.equal((await scene.git(whole, 'rev-parse', 'HEAD')).text.trim(), app.head());

  const shallow = await scene.clone('shallow', '--depth=1');
  t.equal((await scene.git(shallow, 'rev-list', '--count', 'HEAD')).text.trim(), '1');
  t.equal((await scene.git(shallow, 'fetch', '--quiet', '--unshallow')).code, 0);
  t.equal((await scene.git(shallow, 'rev-list', '--count', 'HEAD')).text.trim(), '2');

  const partial = await scene.clone('partial', '--filter=blob:none', '--no-checkout');
  const missing = await scene.git(partial, 'rev-list', '--objects', '--missing=print', '--all');
  t.match(missing.text, /^\?/m);
  t.equal(
    (await scene.git(partial, 'checkout', '--quiet', 'main')).code,
    0,
    'git fetches what lacks',
  );

  const old = await scene.git(
    scene.directory,
    '-c',
    'protocol.version=0',
    'ls-remote',
    scene.url('me/app.git'),
  );
  t.match(old.text, `${app.head()}\trefs/heads/main`);
  const fetched = lines.filter(({ event }) => event === 'gateway_fetched');
  t.match(fetched[0], { repository: `${server.url}/me/app`, agent: /^git\// });
  t.notMatch(JSON.stringify(lines), token);
  t.match(
    await scene.registry.metrics(),
    /berth_gateway_requests_total\{operation="fetch",outcome="served"\} [1-9]/,
  );
});

t.test('git prints the refusal of the server and never prompts for a password', async (t) => {
  const scene = await openScene(t);
  const clone = () => scene.git(scene.directory, 'clone', scene.url('me/app'), 'x');
  for (const [fault, text] of [
    [
      { kind: 'status', status: 401 },
      /remote: .*does not accept the token \(401\).*BERTH_GIT_TOKEN/,
    ],
    [{ kind: 'status', status: 403 }, /remote: .*must grant it "Contents: read"/],
    [{ kind: 'status', status: 404 }, /remote: .*does not exist, or the token has no access/],
    [{ kind: 'status', status: 503 }, /remote: .*in trouble \(503\); try again later/],
    [{ kind: 'html' }, /remote: .*is not git/],
    [
      { kind: 'redirect', to: 'http://evil.example/me/app' },
      /remote: .*redirects to http:\/\/evil.example\/me\/app/,
    ],
  ] as const) {
    scene.server.fault(fault);
    const ran = await clone();
    t.match(ran.text, text);
    t.notMatch(ran.text, /Username|terminal prompts/);
    scene.server.fault(undefined);
  }
  await scene.server.close();
  t.match((await clone()).text, /remote: cannot reach .*nothing listens there/);
  t.notMatch(JSON.stringify(scene.lines), token);
});
