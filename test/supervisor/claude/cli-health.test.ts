import t from 'tap';
import { CliHealth, loadedShape, readMcpStatus } from '../../../supervisor/claude/cli-health.ts';
import type { HookRun } from '../../../supervisor/claude/hooks.ts';

const loaded = (message: Record<string, unknown>) => loadedShape.parse(message);

const hook = (more: Partial<HookRun>): HookRun => ({
  ...{ event: 'PreToolUse', name: 'PreToolUse:Bash', outcome: 'done', exitCode: 0 },
  ...{ blocks: false, stops: false, said: '' },
  ...more,
});

const problems = (health: CliHealth) =>
  Object.fromEntries(health.reports.map(({ name, problem }) => [name, problem]));

t.test('each status of an MCP server has its problem, or none', (t) => {
  const health = new CliHealth();
  const statuses = ['connected', 'disabled', 'pending', 'needs-auth', 'failed'];
  health.loaded(
    loaded({ mcp_servers: statuses.map((status) => ({ name: `is-${status}`, status })) }),
  );
  t.strictSame(problems(health), {
    'is-connected': undefined,
    'is-disabled': undefined,
    'is-pending': 'it has not answered yet (pending)',
    'is-needs-auth': 'it needs a login (needs-auth)',
    'is-failed': 'failed',
  });
  t.end();
});

t.test('the error of a server stays until its status changes', (t) => {
  const health = new CliHealth();
  const failed = { mcp_servers: [{ name: 'files', status: 'failed' }] };
  health.loaded(loaded(failed));
  t.equal(health.unexplained, true);
  health.serversAre(
    readMcpStatus({ mcpServers: [{ name: 'files', status: 'failed', error: 'no such file' }] }),
  );
  t.equal(health.unexplained, false);
  health.loaded(loaded(failed));
  t.match(problems(health), { files: 'failed: no such file' });
  health.loaded(loaded({ mcp_servers: [{ name: 'files', status: 'connected' }] }));
  t.same(health.server('files'), { name: 'files', status: 'connected', error: undefined });
  health.loaded(loaded({}));
  t.equal(health.server('files'), undefined);
  t.end();
});

t.test('plugins and skills that were not loaded are reported after the first init message', (t) => {
  const health = new CliHealth();
  health.expect({ plugins: ['there@shop', 'absent@shop'], skills: ['review', 'broken'] });
  t.strictSame(health.reports, []);
  health.loaded(
    loaded({
      plugins: [{ source: 'there@shop' }],
      skills: ['review'],
      plugin_errors: [{ plugin: 'odd@shop', message: 'no manifest' }],
    }),
  );
  t.match(problems(health), {
    'there@shop': undefined,
    'absent@shop': /^settings\.json enables it, but the CLI did not load it/,
    'odd@shop': 'no manifest',
    review: undefined,
    broken: /SKILL\.md needs a front matter/,
  });
  t.end();
});

t.test('a hook of a turn is forgotten with the next turn, a hook of the start is not', (t) => {
  const health = new CliHealth();
  health.hookEnded(hook({ outcome: 'failed', exitCode: 1, said: 'no jq' }));
  health.hookEnded(hook({ name: 'SessionStart:startup', outcome: 'timed_out' }));
  t.strictSame(problems(health), {
    'PreToolUse:Bash': 'exit code 1: no jq',
    'SessionStart:startup': 'it took too long',
  });
  health.turnBegins();
  t.strictSame(problems(health), { 'SessionStart:startup': 'it took too long' });
  health.hookEnded(hook({ name: 'SessionStart:startup' }));
  t.strictSame(problems(health), { 'SessionStart:startup': undefined });
  t.end();
});

t.test('the list of MCP servers is limited, and only known fields of a server are kept', (t) => {
  const servers = Array.from({ length: 300 }, (_, index) => ({
    ...{ name: `server-${index}`, status: 'failed', error: `a\n${'b'.repeat(1_000)}` },
    config: { env: { KEY: 'a-secret' } },
  }));
  const found = readMcpStatus({ mcpServers: [null, { status: 'nameless' }, ...servers] });
  t.equal(found.length, 100);
  t.equal(found[0]?.error?.length, 300);
  t.notMatch(JSON.stringify(found), /a-secret|\\n/);
  t.throws(() => readMcpStatus('connected'));
  t.end();
});
