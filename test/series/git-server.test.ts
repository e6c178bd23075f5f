import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { testDirectory } from '../support/directory.ts';
import { startGitServer } from '../support/git-server.ts';
import { createRepository, gitEnvironment } from '../support/repository.ts';
import { until } from '../support/until.ts';

const token = 'ghp_a@b/c';
const run = promisify(execFile);

async function serve(t: Test, options: { token?: string; username?: string } = {}) {
  const root = testDirectory(t, { served: {}, cloned: {} });
  const served = join(root, 'served');
  const repository = createRepository(served, 'owner/settings', { 'CLAUDE.md': 'Be brief.\n' });
  const server = await startGitServer({ root: served, ...options });
  t.teardown(() => server.close());
  const cloned = join(root, 'cloned');
  return { root: served, repository, server, cloned, url: server.repositoryUrl('owner/settings') };
}

/** Resolves with what git printed; rejects with its stderr in the message. */
async function clone(url: string, to: string, signal?: AbortSignal): Promise<string> {
  const done = await run('git', ['clone', '-q', url, to], { env: gitEnvironment(), signal });
  return done.stderr;
}

const withLogin = (url: string, user: string, password: string) =>
  url.replace('://', `://${user}:${encodeURIComponent(password)}@`);

const refs = (url: string) => `${url}/info/refs?service=git-upload-pack`;

t.test('a real git clones with the right token, under any user name', async (t) => {
  const { server, cloned, url } = await serve(t, { token });
  for (const user of ['x-access-token', 'someone']) {
    await clone(withLogin(url, user, token), join(cloned, user));
    t.equal(readFileSync(join(cloned, user, 'CLAUDE.md'), 'utf8'), 'Be brief.\n');
  }
  t.ok(server.requests.some((request) => request.path.endsWith('/git-upload-pack')));
});

t.test('a required user name is required', async (t) => {
  const { cloned, url } = await serve(t, { token, username: 'berth' });
  await t.rejects(clone(withLogin(url, 'someone', token), join(cloned, 'a')), /Authentication/);
  await t.resolves(clone(withLogin(url, 'berth', token), join(cloned, 'b')));
});

t.test('without credentials the server answers 401, and a wrong token is refused', async (t) => {
  const { cloned, url } = await serve(t, { token });
  const response = await fetch(refs(url));
  t.equal(response.status, 401);
  t.match(response.headers.get('www-authenticate'), /^Basic /);
  await t.rejects(clone(withLogin(url, 'berth', 'wrong'), cloned), /Authentication failed/);
});

t.test('a repository answers without .git too, and an unknown one is 404', async (t) => {
  const { cloned, url, server } = await serve(t);
  await t.resolves(clone(url.replace(/\.git$/, ''), cloned));
  t.equal((await fetch(refs(server.repositoryUrl('owner/other')))).status, 404);
  t.equal((await fetch(`${server.url}/`)).status, 404);
});

t.test('protocol 2 works, with a compressed body as well', async (t) => {
  const { repository, url } = await serve(t);
  const headers = { 'git-protocol': 'version=2' };
  t.match(await (await fetch(refs(url), { headers })).text(), /version 2/);
  const response = await fetch(`${url}/git-upload-pack`, {
    method: 'POST',
    headers: {
      ...headers,
      'content-type': 'application/x-git-upload-pack-request',
      'content-encoding': 'gzip',
    },
    body: gzipSync('0014command=ls-refs\n00010000'),
  });
  t.match(await response.text(), `${repository.head()} refs/heads/main`);
});

t.test('a status lasts as many requests as it should and carries Retry-After', async (t) => {
  const { server, cloned, url } = await serve(t);
  server.fault({ kind: 'status', status: 429, times: 2, retryAfter: 7 });
  const response = await fetch(refs(url));
  t.equal(response.status, 429);
  t.equal(response.headers.get('retry-after'), '7');
  await t.rejects(clone(url, join(cloned, 'a')), /429/);
  await t.resolves(clone(url, join(cloned, 'b')));
});

t.test('a hanging server never answers, and yet closes at once', async (t) => {
  const { server, url } = await serve(t);
  server.fault({ kind: 'hang' });
  const asked = fetch(refs(url));
  asked.catch(() => {});
  await until('the request arrives', () => server.requests.length === 1);
  await server.close();
  await t.rejects(asked);
});

t.test('a stalled pack stops after so many bytes with the connection open', async (t) => {
  const { server, repository, url } = await serve(t);
  server.fault({ kind: 'stall', afterBytes: 100 });
  t.equal((await fetch(refs(url))).status, 200, 'what comes before the pack is untouched');
  const response = await fetch(`${url}/git-upload-pack`, packRequest(repository.head()));
  const reader = response.body?.getReader();
  let received = 0;
  while (received < 100) received += (await reader?.read())?.value?.length ?? 0;
  t.equal(received, 100);
  // What git still had to send would arrive before the answer to a later request.
  await until('git has ended', () => runningProcesses() === 0);
  await (await fetch(refs(url))).text();
  const stalled = await Promise.race([reader?.read(), setImmediate('nothing more')]);
  t.equal(stalled, 'nothing more');
  await reader?.cancel();
});

t.test('a dropped pack breaks the connection, and a healed server serves it', async (t) => {
  const { server, cloned, url } = await serve(t);
  server.fault({ kind: 'drop', afterBytes: 100 });
  await t.rejects(clone(url, join(cloned, 'a')), /early EOF|RPC failed|disconnect/);
  server.fault(undefined);
  await t.resolves(clone(url, join(cloned, 'b')));
});

t.test('a login page comes with status 200', async (t) => {
  const { server, url } = await serve(t);
  server.fault({ kind: 'html' });
  const response = await fetch(refs(url));
  t.equal(response.status, 200);
  t.match(response.headers.get('content-type'), /^text\/html/);
});

t.test('a moved repository is found at its new place', async (t) => {
  const { root, server, cloned, url } = await serve(t);
  createRepository(root, 'owner/renamed', { 'CLAUDE.md': 'Moved.\n' });
  const to = server.repositoryUrl('owner/renamed');
  server.fault({ kind: 'redirect', to });
  const response = await fetch(refs(url), { redirect: 'manual' });
  t.equal(response.status, 301);
  t.equal(response.headers.get('location'), refs(to));
  await clone(url, cloned);
  t.equal(readFileSync(join(cloned, 'CLAUDE.md'), 'utf8'), 'Moved.\n');
});

t.test('a client that goes away takes its git processes with it', async (t) => {
  const { repository, url } = await serve(t);
  // More than the buffers on the way hold, so that git cannot finish while nobody reads.
  repository.commit({ large: randomBytes(16 * 1024 * 1024) });
  const { method, headers, body } = packRequest(repository.head());
  const request = httpRequest(`${url}/git-upload-pack`, { method, headers });
  request.on('error', () => {});
  request.end(body);
  await new Promise((resolve) => request.once('response', resolve));
  t.ok(runningProcesses() > 0, 'git is at work');
  request.destroy();
  await until('every process has ended', () => runningProcesses() === 0);
});

/** What a client sends to get one commit, in protocol 2. */
function packRequest(commit: string) {
  const lines = ['command=fetch', '', 'done\n', `want ${commit}\n`];
  const packet = (line: string) => (line.length + 4).toString(16).padStart(4, '0') + line;
  const [command, , done, want] = lines.map(packet);
  return {
    method: 'POST',
    headers: {
      'git-protocol': 'version=2',
      'content-type': 'application/x-git-upload-pack-request',
    },
    body: `${command}0001${want}${done}0000`,
  };
}

/** Child processes of this one that Node still waits for. */
const runningProcesses = () =>
  process.getActiveResourcesInfo().filter((name) => name === 'ProcessWrap').length;
