/** The real Claude Code CLI as a client of the MCP server: it calls berth's tools as those of any server. */
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { realClaude } from '../../../support/claude.ts';
import { startClaude } from '../../../support/messages-api/run-claude.ts';
import { promptText, startMessagesApi } from '../../../support/messages-api.ts';
import { startSupervisor, token } from '../../../support/supervisor.ts';

const run = promisify(execFile);

t.test('Claude Code adds the server, sees its tools, and asks through berth', async (t) => {
  const { url, log, surroundings } = await startSupervisor(t, {
    settings: { BERTH_LOG_LEVEL: 'debug' },
  });
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  const folder = join(t.testdirName, 'client');
  for (const name of ['home', 'config', 'work']) mkdirSync(join(folder, name), { recursive: true });
  const claude = async (...args: string[]) => {
    const env = {
      PATH: process.env.PATH ?? '',
      HOME: join(folder, 'home'),
      CLAUDE_CONFIG_DIR: join(folder, 'config'),
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    };
    const { stdout } = await run(realClaude, args, { cwd: join(folder, 'work'), env });
    return stdout;
  };
  const header = `Authorization: Bearer ${token}`;
  const added = ['--transport', 'http', '--scope', 'user', 'berth', `${url}/mcp`];
  await claude('mcp', 'add', ...added, '--header', header);
  t.match(await claude('mcp', 'list'), /berth: .*\/mcp \(HTTP\) - .*Connected/);

  const input = JSON.stringify({ prompt: 'Which tools does a carpenter need?' });
  const client = startClaude(t, api.url, {
    folder,
    prompt: `[[tool mcp__berth__ask ${input}]][[tool mcp__berth__list_sessions {}]]`,
    args: ['--allowedTools=mcp__berth__ask,mcp__berth__list_sessions'],
  });
  const init = await client.next(({ subtype }) => subtype === 'init');
  t.match(init, { mcp_servers: [{ name: 'berth', status: 'connected' }] });
  const tools = (init as unknown as { tools: string[] }).tools;
  t.equal(tools.filter((name) => name.startsWith('mcp__berth__')).length, 7);
  t.match(await client.result(), { is_error: false });
  const results = JSON.stringify(api.requests.at(-1)?.body?.messages);
  t.match(results, /You said: Which tools does a carpenter need/, 'the answer of berth');
  t.match(results, /last_used_at/, 'the session of that answer');
  t.ok(surroundings.api.requests.some((request) => /carpenter/.test(promptText(request) ?? '')));
  const called = log.lines.filter(({ event }) => event === 'mcp_called').map(({ tool }) => tool);
  t.same(called, ['ask', 'list_sessions']);
});
