/** What the API answers to a hostile caller with a valid token: never that berth has a bug. */
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { scripted } from '../../support/claude.ts';
import { hostileRequests, type Paths } from '../../support/hostile-requests.ts';
import { startSupervisor, token } from '../../support/supervisor.ts';

const profiles = `
default: wide
profiles:
  wide:
    overrides: [model, append_system_prompt, allowed_tools, max_turns, max_budget_usd, output_schema, timeout]
`;

t.test('the API to a hostile caller', async (t) => {
  const { call, prompt, url, log } = await startSupervisor(t, {
    config: { 'profiles.yaml': profiles },
    settings: {
      BERTH_CLAUDE_PATH: scripted('claude-that-answers'),
      BERTH_PROFILES_FILE: join(t.testdirName, 'config', 'profiles.yaml'),
      BERTH_PROMPT_TIMEOUT: '10s',
      BERTH_MAX_WORKERS: '4',
    },
  });
  const session = async (): Promise<string> => (await prompt('hi')).body.session_id;

  await t.test('a call that needs no body accepts a declared empty body', async (t) => {
    const id = await session();
    const calls = [
      ['POST', '/v1/pause', 200],
      ['POST', '/v1/resume', 200],
      ['POST', `/v1/sessions/${id}/interrupt`, 200],
      ['DELETE', `/v1/sessions/${id}`, 204],
    ] as const;
    for (const [method, path, status] of calls) {
      t.equal((await call(method, path, { body: '' })).status, status, `${method} ${path}`);
    }
    const wrong = await call('POST', '/v1/pause', { body: '{' });
    t.match(wrong, { status: 400, body: { code: 'invalid_request', detail: /not valid JSON/ } });
    t.notMatch(wrong.body.detail, /"prompt"/);
  });

  await t.test('too many tools and values that a flag cannot hold are refused', async (t) => {
    const refused = [
      { allowed_tools: Array(501).fill('Read') },
      { allowed_tools: ['Bash(ls\0:*)'] },
      { allowed_tools: Array(500).fill('Read'), append_system_prompt: '\u0001'.repeat(9_000) },
      { allowed_tools: Array(20_000).fill(1) },
    ];
    for (const fields of refused) {
      const { status, body } = await prompt('hi', fields);
      t.match(status, /^4/);
      t.ok(body.detail.length < 4_000);
    }
  });

  await t.test(
    'every answer is a result or a problem with a code, and none is a bug',
    async (t) => {
      const description = (await call('GET', '/openapi.json')).body as { paths: Paths };
      const requests = hostileRequests(description.paths, [await session()]);
      const property = fc.asyncProperty(requests, async ({ method, path, headers, body }) => {
        const response = await fetch(url + path, {
          method,
          headers: { authorization: `Bearer ${token}`, ...headers },
          body: body ?? null,
        });
        const answer = await response.text();
        if (response.status >= 400) {
          const problem = JSON.parse(answer);
          const typed = response.headers.get('content-type') === 'application/problem+json';
          const isOfMcp = path.startsWith('/mcp') && problem.jsonrpc === '2.0' && problem.error;
          // The compatible endpoints answer in the error shape of their own API.
          const isOfOther =
            /^\/v1\/(messages|models|chat|responses)/.test(path) &&
            typeof problem.error?.message === 'string';
          if (!isOfMcp && !isOfOther && (!typed || problem.status !== response.status))
            throw new Error(`no problem: ${answer}`);
          if (answer.length > 16_384) throw new Error(`an answer of ${answer.length} characters`);
        }
        if (answer.includes('"code":"internal"')) throw new Error(answer);
      });
      await fc.assert(property, { seed: 12, numRuns: 250, endOnFailure: true });
      t.equal(log.count('failed'), 0);
    },
  );
});
