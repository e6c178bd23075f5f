import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createLogins } from '../../../init/gateway/logins.ts';
import { openDispatcher } from '../../../init/git/transport.ts';
import { type GitHubApiOptions, startGitHubApi } from '../../support/github-api.ts';
import { until } from '../../support/until.ts';
import { openScene, token } from './fixture.ts';

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const app = {
  id: '7',
  installationId: 9,
  privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
};

/** An API that answers when the test says so. */
async function openSlowApi(t: Test): Promise<{ url: string; waiting: ServerResponse[] }> {
  const waiting: ServerResponse[] = [];
  const server = createServer((_, response) => void waiting.push(response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, waiting };
}

t.test('a client that leaves does not end the token that another client waits for', async (t) => {
  const api = await openSlowApi(t);
  const dispatcher = openDispatcher({ idleTimeout: 10_000 });
  t.teardown(() => dispatcher.destroy());
  const home = 'https://github.com';
  const logins = createLogins({
    home,
    read: () => ({ username: 'x-access-token', token: undefined, app }),
    ...{ githubApiUrl: api.url, tokenPlace: 'BERTH_GIT_TOKEN', dispatcher },
    signal: new AbortController().signal,
  });
  const place = { origin: home, path: 'me/app' };
  const first = new AbortController();
  const leaves = logins.find(place, 'read', first.signal);
  const stays = logins.find(place, 'read', new AbortController().signal);
  await until('the token is asked for', () => api.waiting.length > 0);
  first.abort(new Error('the client has gone'));
  await t.rejects(leaves, { message: 'the client has gone' });
  const content = { token, expires_at: new Date(Date.now() + 3_600_000).toISOString() };
  for (const response of api.waiting) {
    response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(content));
  }
  t.match(await stays, { token });
  t.equal(api.waiting.length, 1);
});

t.test('a token that the API does not accept any more is made again', async (t) => {
  const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string;
  const options: GitHubApiOptions = {
    ...{ repository: 'me/app', token, pulls: { branches: ['berth/fix'], opened: [] } },
    app: { id: '7', installationId: 9, publicKey: pem },
  };
  const api = await startGitHubApi(options);
  t.teardown(() => api.close());
  const login = () => ({ username: 'x-access-token', token: undefined, app });
  const scene = await openScene(t, { gateway: () => ({ githubApiUrl: api.url, login }) });
  const open = async () => {
    const answer = await scene.send('/pull-requests', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ repository: 'me/app', head: 'berth/fix', title: 'Fix it' }),
    });
    return answer.status;
  };
  t.equal(await open(), 201);
  options.token = 'another-canary-token-0123456789';
  t.not(await open(), 200, 'the token was revoked');
  t.equal(await open(), 200);
  t.equal(api.tokensFor.length, 2);
});
