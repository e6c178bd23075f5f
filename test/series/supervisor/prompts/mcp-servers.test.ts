import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkServer } from '../../../../supervisor/doctor/server.ts';
import { makeSurroundings } from '../../../support/claude.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

const script = join(import.meta.dirname, '../../../support/fixtures/mcp-server.mjs');
const server = (...args: string[]) => ({ command: process.execPath, args: [script, ...args] });
const dead = { command: '/no/such/server' };
const refused = { type: 'http', url: 'http://127.0.0.1:9/mcp' };
const silent = { command: 'sleep', args: ['600'] };
/** Only for profiles none of whose servers must connect: a slow machine may need longer for that. */
const environment = { MCP_TIMEOUT: '3000' };

t.test(
  'a disconnected MCP server is reported, and prompts that need the server are refused',
  async (t) => {
    const surroundings = await makeSurroundings(t);
    const directory = surroundings.workspace;
    const needed = join(directory, 'needed');
    const servers = { good: server(), late: server('0', needed) };
    const profiles = {
      default: { mcp: { servers: { ...servers, dead, refused } } },
      'has-silent': { mcp: { servers: { silent } }, environment },
      toolless: { mcp: { servers: { dead } }, tools: { allow: ['Read'] } },
      'needs-good': {
        mcp: { servers: { ...servers, slow: server('1500'), dead }, required: ['good', 'slow'] },
      },
      'needs-dead': { mcp: { servers: { dead, silent }, required: ['dead', 'gone'] }, environment },
      'needs-silent': { mcp: { servers: { silent }, required: ['silent'] }, environment },
      'needs-late': { mcp: { servers, required: ['late'] }, warm: 1 },
    };
    const file = join(directory, 'profiles.json');
    writeFileSync(file, JSON.stringify({ profiles }));
    const { prompt, call, log, metricsUrl } = await startWithRealCli(t, {
      surroundings,
      settings: { BERTH_PROFILES_FILE: file, BERTH_MAX_WORKERS: '4' },
    });
    const asked = (text: string) =>
      surroundings.api.requests.filter(({ body }) => JSON.stringify(body).includes(text));

    await t.test(
      'the answer warns about each MCP server that is not connected and names the cause',
      async (t) => {
        const [{ status, body }, silent] = await Promise.all([
          prompt('[[say hello]]'),
          prompt('[[say hello]]', { profile: 'has-silent' }),
        ]);
        t.equal(status, 200);
        const [deadly, late, refusing, ...more] = [...body.warnings].sort();
        t.match(deadly, /^the MCP server dead has no connection, .*: failed: ENOENT/);
        t.match(late, /^the MCP server late has no connection, .*: failed: /);
        t.match(refusing, /^the MCP server refused has no connection, .*: failed: /);
        t.same(more, []);
        t.equal(silent.status, 200);
        const [silently, ...others] = silent.body.warnings;
        t.match(silently, /^the MCP server silent has no connection, .*(pending|timed out)/);
        t.same(others, []);
        const again = await prompt('[[say hello]]', { session_id: body.session_id });
        t.equal(again.body.warnings.length, 3);
      },
    );

    await t.test(
      'the log (once), the status and the metrics report a disconnected MCP server',
      async (t) => {
        const fits = ({ name }: Record<string, unknown>) => name === 'dead';
        t.match(await log.logged('cli_problem', fits), { kind: 'mcp_server', profile: 'default' });
        t.equal(log.lines.filter((line) => line.event === 'cli_problem' && fits(line)).length, 1);
        const { body } = await call('GET', '/v1/status');
        t.match(body.cli_problems.find(fits), {
          profile: 'default',
          kind: 'mcp_server',
          problem: /ENOENT/,
          since: String,
        });
        const metrics = await (await fetch(new URL('/metrics', metricsUrl))).text();
        t.match(metrics, /berth_cli_problems\{profile="default",kind="mcp_server"\} 3\n/);
        t.match(metrics, /berth_cli_problems\{profile="default",kind="plugin"\} 0\n/);
      },
    );

    await t.test('berth doctor reports a disconnected MCP server', async (t) => {
      const { hostname: host, port } = new URL(metricsUrl);
      const found = await checkServer({ host, port: Number(port) }, new AbortController().signal);
      t.match(
        found.find(({ subject }) => subject === 'MCP server dead'),
        { status: 'failed', detail: /ENOENT.*\(profile default\)/ },
      );
    });

    await t.test('a profile without access to MCP tools gets no warning', async (t) => {
      t.match(await prompt('[[say hello]]', { profile: 'toolless' }), {
        status: 200,
        body: { warnings: [] },
      });
    });

    await t.test('a server that is slow is waited for where it is required', async (t) => {
      const { status, body } = await prompt('[[say hello]]', { profile: 'needs-good' });
      t.equal(status, 200);
      t.match(body.warnings.sort(), [/MCP server dead/, /MCP server late/]);
    });

    await t.test('without a required MCP server, no prompt reaches the model', async (t) => {
      for (const [profile, detail, ...names] of [
        ['needs-dead', /ENOENT.*gone \(not configured\)/, 'dead', 'gone'],
        ['needs-silent', /silent/, 'silent'],
      ]) {
        const { status, body, headers } = await prompt('[[say in vain]]', { profile });
        t.equal(status, 503);
        t.match(body, { code: 'mcp_unavailable', retryable: true, detail });
        t.same(
          body.mcp_servers.map(({ name }: { name: string }) => name),
          names,
        );
        t.ok(headers.get('retry-after'));
      }
      t.same(asked('in vain'), []);
    });

    await t.test(
      'a required MCP server that starts later is connected in the same process',
      async (t) => {
        const before = await prompt('[[say too early]]', { profile: 'needs-late' });
        t.match(before, { status: 503, body: { code: 'mcp_unavailable' } });
        writeFileSync(needed, '');
        const { status, body } = await prompt('[[say in time]]', { profile: 'needs-late' });
        t.match({ status, ...body }, { status: 200, result: 'in time', warnings: [] });
        const { pid } = await log.logged('worker_ready', (line) => line.profile === 'needs-late');
        const { session_id } = body;
        const { workers } = (await call('GET', '/v1/status')).body;
        const own = workers.find((each: { session_id: string }) => each.session_id === session_id);
        t.equal(own.pid, pid);
        t.match(await prompt('[[say on]]', { session_id }), {
          status: 200,
          body: { result: 'on' },
        });
      },
    );
  },
);
