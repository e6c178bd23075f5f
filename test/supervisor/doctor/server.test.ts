import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import t, { type Test } from 'tap';
import { checkServer } from '../../../supervisor/doctor/server.ts';
import { createProbesServer } from '../../../supervisor/http/probes.ts';

const never = new AbortController().signal;

const quiet = {
  launch_failures: [] as object[],
  cli_problems: [] as object[],
  settings: { ignored: [] as object[] },
};

async function listening(t: Test, problems?: () => unknown, host = '127.0.0.1') {
  const server = createProbesServer({
    ready: () => true,
    registry: new Registry(),
    ...(problems ? { problems } : {}),
  });
  t.teardown(() => server.close());
  await server.listen({ host, port: 0 });
  const { port } = server.server.address() as AddressInfo;
  return { host, port };
}

t.test('each problem that the server reports is a finding with its name and cause', async (t) => {
  const problem = { profile: 'default', kind: 'mcp_server', name: 'files', problem: 'ENOENT' };
  const at = await listening(t, () => ({
    launch_failures: [
      { profile: 'a', message: 'cannot start the CLI: no memory; raise the limit; or wait' },
      { profile: 'b', message: 'nobody knows' },
    ],
    cli_problems: [
      problem,
      { ...problem, profile: 'other' },
      { ...problem, kind: 'hook', name: 'PreToolUse:Bash', problem: 'exit code 1: no jq' },
      { ...problem, kind: 'skill', name: 'brew', problem: 'no front matter' },
    ],
    settings: {
      ignored: [
        { file: '/c/settings.json', path: '', message: 'it is not JSON' },
        { file: '/c/settings.json', path: 'permissions.deny.0', message: 'no rule' },
      ],
    },
  }));
  t.match(await checkServer(at, never), [
    {
      ...{ status: 'failed', subject: 'profile a', remedy: 'raise the limit; or wait' },
      detail: 'no worker starts: cannot start the CLI: no memory',
    },
    { status: 'failed', subject: 'profile b', remedy: /worker_failed/ },
    { subject: '/c/settings.json', detail: 'the CLI ignores all of it: it is not JSON' },
    { status: 'failed', detail: 'the CLI ignores permissions.deny.0: no rule' },
    {
      ...{ status: 'failed', subject: 'MCP server files', remedy: /repair the server/ },
      detail: 'it has no connection: ENOENT (profiles default, other)',
    },
    { status: 'failed', subject: 'hook PreToolUse:Bash', detail: /checks nothing: .*no jq/ },
    { status: 'warning', subject: 'skill brew', detail: /not loaded: .*\(profile default\)/ },
  ]);
});

t.test('a store of jobs that cannot be used is a failure with its cause', async (t) => {
  let available = true;
  const problem = 'cannot keep jobs in /c/.berth: it is on NFS; use a block volume';
  const at = await listening(t, () => ({ ...quiet, jobs: { kind: 'sqlite', available, problem } }));
  t.match(await checkServer(at, never), [{ status: 'ok' }]);
  available = false;
  t.match(await checkServer(at, never), [
    {
      ...{ status: 'failed', subject: 'store of jobs (sqlite)', remedy: 'use a block volume' },
      detail: 'cannot keep jobs in /c/.berth: it is on NFS',
    },
  ]);
});

t.test('a server without a problem is ok, and a missing server is not applicable', async (t) => {
  const at = await listening(t, () => quiet);
  t.match(await checkServer(at, never), [{ status: 'ok' }]);
  t.match(await checkServer({ host: '::', port: at.port }, never), [{ status: 'ok' }]);
  t.match(await checkServer({ host: '127.0.0.1', port: 9 }, never), [{ status: 'n/a' }]);
  t.match(await checkServer(await listening(t), never), [{ status: 'n/a' }], 'of write-back');
  const long = await listening(t, () => ({ ...quiet, more: 'x'.repeat(2 * 1024 * 1024) }));
  t.match(await checkServer(long, never), [{ status: 'n/a' }], 'a report without an end');
});

t.test('a flood of problems is cut', async (t) => {
  const problems = Array.from({ length: 130 }, (_, n) => ({
    ...{ profile: 'p', kind: 'skill', name: `s${n}`, problem: 'x' },
  }));
  const at = await listening(t, () => ({ ...quiet, cli_problems: problems }));
  const findings = await checkServer(at, never);
  t.equal(findings.length, 101);
  t.match(findings.at(-1), { status: 'warning', detail: 'berth serve reports 30 more problems' });
});

t.test('only a client of the same pod gets the problems', async (t) => {
  const { port } = await listening(t, () => quiet, '0.0.0.0');
  // From another address, as a client elsewhere has one.
  const statusOf = (localAddress: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, path: '/problems', localAddress });
      asked.on('response', (response) => resolve(response.resume().statusCode));
      asked.on('error', reject).end();
    });
  t.equal(await statusOf('127.0.0.1'), 200);
  t.equal(await statusOf('127.0.0.2'), 404);
});
