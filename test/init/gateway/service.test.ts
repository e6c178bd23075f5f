import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import t from 'tap';
import { readInitConfig } from '../../../init/config.ts';
import type { Gateway } from '../../../init/gateway/gateway.ts';
import { gatewayService } from '../../../init/gateway/service.ts';
import { openHarbour, token } from '../fixture.ts';
import { runGit } from './fixture.ts';

t.test('the gateway of an init that stays uses the token that the Secret has now', async (t) => {
  const harbour = await openHarbour(t);
  const secret = join(harbour.directory, 'secrets/token');
  writeFileSync(secret, 'wrong-token-0123456789');
  const environment = harbour.environment({
    BERTH_GIT_TOKEN: '',
    BERTH_GIT_TOKEN_FILE: secret,
    BERTH_REF: 'berth/live',
    BERTH_SYNC_INTERVAL: '5m',
    BERTH_GATEWAY_PUSH: 'me/*',
    BERTH_GATEWAY_LISTEN: '127.0.0.1:0',
  });
  const read = () => readInitConfig(environment).config;
  const { gateway: config } = read();
  if (!config) throw new Error('the gateway is off');
  const { signal } = new AbortController();
  const { log } = harbour;
  const context = { config: read, log, registry: new Registry(), signal };
  const gateway = (await gatewayService(config).start(context)) as Gateway;
  t.teardown(() => gateway.stop());
  const url = `${gateway.url}/me/claude`;
  const git = (...args: string[]) => runGit(harbour.directory, args);
  t.match(
    (await git('ls-remote', url)).text,
    /does not accept the token \(401\).*BERTH_GIT_TOKEN_FILE/,
  );
  writeFileSync(secret, `${token}\n`);
  t.match((await git('ls-remote', url)).text, harbour.repository.head());

  const push = (branch: string) =>
    git('-C', harbour.repository.path, 'push', url, `main:${branch}`);
  t.match(
    (await push('berth/live')).text,
    /berth uses this branch itself/,
    'the branch of BERTH_REF',
  );
  t.match((await push('berth/changes')).text, /berth uses this branch itself/);
  t.equal((await push('berth/x')).code, 0);
});

t.test('the gateway is on only with a repository, on loopback only', async (t) => {
  const environment = { BERTH_REPO: 'me/claude', BERTH_GATEWAY_REPOS: 'me/*' };
  t.equal(readInitConfig({ BERTH_REPO: 'me/claude' }).config.gateway, undefined);
  t.match(readInitConfig(environment), {
    config: { gateway: { listen: { host: '127.0.0.1', port: 9418 }, push: [] } },
    advice: [/no effect without BERTH_SYNC_INTERVAL/],
  });
  for (const [name, value, expected] of [
    ['BERTH_GATEWAY_LISTEN', ':9418', /an address of this pod alone/],
    ['BERTH_GATEWAY_LISTEN', '10.0.0.1:9418', /an address of this pod alone/],
    ['BERTH_GATEWAY_BRANCHES', 'a b', /branches separated by commas/],
    ['BERTH_GATEWAY_PUSH', 'me', /repositories separated by commas/],
  ] as const) {
    t.throws(() => readInitConfig({ ...environment, [name]: value }), { message: expected });
  }
});
