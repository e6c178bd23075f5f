import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeSupervisor, startSupervisor } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.jobs = 2;

const get = async (base: string, path: string) => {
  const response = await fetch(new URL(path, base));
  return { status: response.status, text: await response.text() };
};

t.test('readyz succeeds only while serving, livez also during the start', async (t) => {
  const made = await makeSupervisor(t);
  const { supervisor } = made;
  const starting = supervisor.start(new AbortController().signal);
  await until('it listens', () => supervisor.addresses.metrics !== undefined);
  t.match(await get(made.metricsUrl, '/livez'), { status: 200, text: 'ok\n' });
  t.match(await get(made.metricsUrl, '/readyz'), { status: 503, text: /starting or draining/ });
  await starting;
  await until('the CLI has passed its test', async () => {
    return (await get(made.metricsUrl, '/readyz')).status === 200;
  });
});

t.test('a lost login or a full queue is no reason not to be ready', async (t) => {
  const { prompt, metricsUrl } = await startSupervisor(t, {
    environment: { ANTHROPIC_API_KEY: undefined },
  });
  t.equal((await prompt('hello')).status, 503);
  t.match(await get(metricsUrl, '/readyz'), { status: 200 });
});

t.test('the metrics count the prompts, in the format of Prometheus', async (t) => {
  const { prompt, metricsUrl } = await startSupervisor(t);
  const { body } = await prompt('[[say hello]]');
  await prompt('[[status 401]]');
  const { text } = await get(metricsUrl, '/metrics');
  const value = (name: string) => Number(text.match(new RegExp(`^${name} (.*)$`, 'm'))?.[1]);
  t.equal(value('berth_prompts_total{outcome="ok",profile="default"}'), 1);
  t.equal(value('berth_prompts_total{outcome="login_required",profile="default"}'), 1);
  t.equal(value('berth_prompt_duration_seconds_count{outcome="ok",profile="default"}'), 1);
  t.equal(value('berth_cost_usd_total{profile="default"}'), body.cost_usd);
  t.equal(value('berth_tokens_total{kind="output",profile="default"}'), body.usage.output_tokens);
  t.ok(value('berth_workers{state="idle"}') >= 1);
  t.equal(value('berth_queue_length'), 0);
  t.ok(value('berth_workers_memory_bytes') >= 0);
  t.match(text, /^berth_build_info\{version="\d+\.\d+\.\d+"\} 1$/m);
  check(t, text);
});

t.test('probes need no token, the rest does, and the metrics port takes no prompts', async (t) => {
  const { metricsUrl, url } = await startSupervisor(t);
  t.equal((await get(metricsUrl, '/v1/status')).status, 404);
  t.equal((await get(url, '/v1/status')).status, 401);
  t.equal((await get(url, '/metrics')).status, 401);
  t.equal((await get(url, '/openapi.json')).status, 200);
});

t.test(
  'the served API description is OpenAPI 3.1 and equals the file in the repository',
  async (t) => {
    const { url } = await startSupervisor(t);
    const description = JSON.parse((await get(url, '/openapi.json')).text);
    t.match(description, { openapi: /^3\.1\.\d+$/, info: { title: 'berth', version: String } });
    const methods = ['get', 'post', 'put', 'patch', 'delete'];
    for (const [path, item] of Object.entries<Record<string, unknown>>(description.paths)) {
      t.match(path, /^\//);
      for (const [method, operation] of Object.entries(item)) {
        t.ok(methods.includes(method), `${method} ${path}`);
        const answers = successes(operation);
        t.ok(answers.length > 0, `${method} ${path} has an answer without an error`);
        for (const [status, answer] of answers) {
          t.match(answer, { description: String, ...(status === '204' ? {} : { content: {} }) });
        }
        t.match(operation, { summary: String });
      }
    }
    t.match(description.paths['/v1/prompts'].post.requestBody.content['application/json'].schema, {
      type: 'object',
      required: ['prompt'],
      additionalProperties: false,
    });
    const references = JSON.stringify(description).matchAll(/"\$ref":"#\/([^"]+)"/g);
    for (const [, pointer = ''] of references) {
      const target = pointer.split('/').reduce((at, key) => at?.[key], description);
      t.ok(target, pointer);
    }
    const checkedIn = join(import.meta.dirname, '../../../docs/openapi.json');
    t.same(description, JSON.parse(readFileSync(checkedIn, 'utf8')));
  },
);

function successes(operation: unknown): [status: string, answer: object][] {
  const { responses } = operation as { responses: Record<string, object> };
  return Object.entries(responses).filter(([status]) => status.startsWith('2'));
}

/** By Prometheus' own tool if it is there, else by the shape of the lines. */
function check(t: { equal: Tap['equal']; match: Tap['match'] }, text: string): void {
  const tool = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  if (tool.error === undefined) {
    // Node.js' own metrics have names that it objects to; ours must not.
    const complaints = (tool.stdout + tool.stderr)
      .split('\n')
      .filter((line) => /^berth_|error/.test(line));
    t.equal(complaints.join('\n'), '');
    return;
  }
  const helped = new Set([...text.matchAll(/^# HELP (\S+) \S/gm)].map(([, name]) => name));
  for (const line of text.split('\n').filter((line) => line && !line.startsWith('#'))) {
    t.match(line, /^[a-z_]+(_bucket|_sum|_count)?(\{[^}]*\})? (NaN|[+-]?Inf|[\d.e+-]+)$/);
    const name = line.replace(/[{ ].*$/, '');
    t.equal(helped.has(name) || helped.has(name.replace(/_(bucket|sum|count)$/, '')), true, name);
  }
}

type Tap = typeof t;
