import t, { type Test } from 'tap';
import { BerthError } from '../../../../shared/errors.ts';
import { cliArguments } from '../../../../supervisor/claude/flags.ts';
import type { UsageLimit } from '../../../../supervisor/claude/usage-limit.ts';
import { treeCpu } from '../../../../supervisor/memory/process-tree.ts';
import { failureOf } from '../../../../supervisor/prompts/outcome.ts';
import {
  afterTurn,
  runTurn,
  type TurnEvent,
  type TurnOptions,
  TurnStalled,
} from '../../../../supervisor/prompts/turn.ts';
import {
  bashAllowed,
  makeSurroundings,
  realClaude,
  scriptedClaude,
  startProcess,
} from '../../../support/claude.ts';
import { promptText } from '../../../support/messages-api.ts';
import { tailsOf } from '../../../support/processes.ts';
import { until } from '../../../support/until.ts';

t.jobs = 3;

const cpuOf = treeCpu;

/** Milliseconds of silence that are a hang, where no turn hangs: a slow machine needs some of them. */
const bound = 5_000;

interface Setting {
  path?: string;
  flags?: string[];
  environment?: Record<string, string>;
}

/** A worker on which turns are run, by default with the real CLI. */
async function makeWorker(
  t: Test,
  { flags = [], environment = {}, path = realClaude }: Setting = {},
) {
  const surroundings = await makeSurroundings(t, { 'settings.json': bashAllowed });
  Object.assign(surroundings.inherited, environment);
  const child = startProcess(t, surroundings, {
    path,
    arguments: [...cliArguments(undefined), ...flags],
  });
  const worker = { process: child };
  const events: TurnEvent[] = [];
  const run = (text: string, options: Partial<TurnOptions> = {}) =>
    runTurn(worker, text, {
      signal: new AbortController().signal,
      emit: (event) => events.push(event),
      ...options,
    });
  return { ...surroundings, worker, events, run };
}

t.test('a suspended process is reported as stuck, soon after the interrupt', async (t) => {
  const { run, worker, api } = await makeWorker(t, { path: scriptedClaude });
  const turn = run('[[hang stream]]', { watch: { bound: 1_500, cpuOf } }).catch((error) => error);
  await api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  process.kill(worker.process.pid ?? 0, 'SIGSTOP');
  const error = await turn;
  t.type(error, TurnStalled);
  t.equal(error.end, undefined);
  t.equal(worker.process.idle, false);
});

t.test('a caller whose time is up waits no longer than a second for a stuck process', async (t) => {
  const { run, worker, api } = await makeWorker(t, { path: scriptedClaude });
  const ending = new AbortController();
  const turn = run('[[hang stream]]', { signal: ending.signal });
  await api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  process.kill(worker.process.pid ?? 0, 'SIGSTOP');
  const aborted = performance.now();
  ending.abort(new BerthError('prompt_timeout', 'too long'));
  await t.rejects(turn, { code: 'prompt_timeout' });
  t.ok(performance.now() - aborted < 10_000);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  afterTurn(worker, resolve);
  t.equal(await promise, false, 'its process is not used again');
});

const login = { ANTHROPIC_API_KEY: '', CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-of-the-tests' };
const headersOf = (status: string, resets: number, rest: Record<string, string> = {}) =>
  JSON.stringify({
    'anthropic-ratelimit-unified-status': status,
    'anthropic-ratelimit-unified-reset': String(resets),
    ...rest,
  });

t.test('a turn respects the limits of an account and of a tool', async (t) => {
  const environment = { ...login, BASH_MAX_TIMEOUT_MS: '1000' };
  const { run } = await makeWorker(t, { environment });

  await t.test(
    'a tool that may run long by BASH_MAX_TIMEOUT_MS is no hang before that',
    async (t) => {
      const watch = { bound, toolBound: 1_000, cpuOf };
      const { result } = await run('[[tool Bash {"command":"sleep 6"}]] [[say slept]]', { watch });
      t.equal(result.result, 'slept');
    },
  );

  await t.test('each limit of the account is reported with its end', async (t) => {
    const limits: UsageLimit[] = [];
    const onLimit = (limit: UsageLimit): unknown => limits.push(limit);
    const resets = Math.floor(Date.now() / 1_000) + 3_600;
    const weekly = headersOf('allowed_warning', resets, {
      'anthropic-ratelimit-unified-representative-claim': 'seven_day',
      'anthropic-ratelimit-unified-7d-utilization': '0.92',
      'anthropic-ratelimit-unified-7d-reset': String(resets),
      'anthropic-ratelimit-unified-7d-surpassed-threshold': '0.9',
    });
    const near = await run(`[[headers ${weekly}]] [[say near]]`, { onLimit });
    t.equal(failureOf(near), undefined);
    t.match(limits, [{ status: 'allowed_warning', type: 'seven_day', utilization: 0.92 }]);
    const session = headersOf('rejected', resets, {
      'anthropic-ratelimit-unified-representative-claim': 'five_hour',
    });
    // The CLI reports an unchanged limit only with the failure of the turn.
    for (const round of [1, 2]) {
      limits.length = 0;
      const error = failureOf(await run(`[[status 429 #${round} ${session}]]`, { onLimit }));
      t.match(error, {
        code: 'usage_limit',
        message: /5-hour limit/,
        details: { resets_at: new Date(resets * 1_000).toISOString(), retry_after: Number },
      });
      t.ok(Number(error?.details.retry_after) > 3_500);
      t.match(limits.at(-1), { status: 'rejected', type: 'five_hour', resetsAt: resets * 1_000 });
    }
  });

  await t.test('a rate limit of a subscription is not its usage limit', async (t) => {
    t.match(failureOf(await run('[[status 429]]')), { code: 'rate_limited' });
    const error = failureOf(await run('[[status 403 say OAuth token has been revoked]]'));
    t.match(error, { code: 'login_required' });
    const unpaid = 'OAuth authentication is currently not allowed for this organization.';
    const refused = failureOf(await run(`[[status 403 say ${unpaid}]]`));
    t.match(refused, { code: 'permission_denied' });
  });
});

t.test('a turn that reaches its turn limit reports its text and its cost', async (t) => {
  const { run, api } = await makeWorker(t, { path: scriptedClaude, flags: ['--max-turns=2'] });
  api.reply(() => ({ text: 'so far', tool: { name: 'Bash', input: { command: 'true' } } }));
  t.match(failureOf(await run('work')), {
    code: 'turns_exceeded',
    status: 422,
    retryable: false,
    details: {
      ...{ session_id: String, cost_usd: Number, usage: { output_tokens: Number } },
      result: 'so far',
    },
  });
  api.reply(undefined);
  t.equal((await run('[[say go on]]')).result.result, 'go on', 'the session can go on');
});

t.test('a turn that exceeds its budget fails with budget_exceeded', async (t) => {
  const { run } = await makeWorker(t, { flags: ['--max-budget-usd=0.01'] });
  const error = failureOf(await run('[[tools endless]]'));
  t.match(error, { code: 'budget_exceeded', message: /maximum budget/ });
  t.ok(Number(error?.details.cost_usd) > 0.01);
});

t.test('a process with a schema retries and keeps its text', async (t) => {
  const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
  const { run, api } = await makeWorker(t, {
    flags: ['--json-schema', JSON.stringify(schema)],
    environment: { CLAUDE_CODE_MAX_RETRIES: '2' },
  });

  await t.test('a long wait before a retry is no hang', async (t) => {
    const retried = '[[status 429 x1 {"retry-after":"6"}]] [[tool StructuredOutput {"a":3}]]';
    const { result } = await run(retried, { watch: { bound, toolBound: 60_000, cpuOf } });
    t.same(result.structuredOutput, { a: 3 });
    const [refused, repeated] = api.requests.filter((each) => promptText(each) === retried);
    const waited = Number(repeated?.received) - Number(refused?.received);
    t.ok(waited > bound, 'the wait was longer than the bound');
  });

  await t.test('an output of another shape is an error that keeps the text', async (t) => {
    const good = await run('[[tool StructuredOutput {"a":1}]]');
    t.equal(failureOf(good, true), undefined);
    t.same(good.result.structuredOutput, { a: 1 });
    const never = failureOf(await run('[[say I would rather not]]'), true);
    t.match(never, { code: 'output_mismatch', status: 422, details: { result: String } });
    const wrong = '[[tool StructuredOutput {"a":"one"}]]'.repeat(6);
    t.match(failureOf(await run(wrong), true), {
      code: 'output_mismatch',
      message: /after 5 attempts.*a: must be integer/,
      details: { result: '{"a":"one"}' },
    });
  });
});

t.test('a worker is used again after each way in which a turn ended', async (t) => {
  const { run, worker, api, config, events } = await makeWorker(t);

  await t.test('a tool that sleeps is no hang', async (t) => {
    events.length = 0;
    const watch = { bound, toolBound: 60_000, cpuOf };
    const { result } = await run('[[tool Bash {"command":"sleep 6"}]] [[say slept]]', { watch });
    t.equal(result.result, 'slept');
    t.match(
      events.filter(({ event }) => event === 'tool_result'),
      [{ data: { is_error: false } }],
    );
  });

  await t.test(
    'a turn without more output from the model is interrupted and reported as stalled',
    async (t) => {
      await run('[[say started]]');
      const options = { watch: { bound: 1_500, cpuOf }, interruptGrace: 30_000 };
      const error = await run('[[hang stream]]', options).catch((error) => error);
      t.type(error, TurnStalled);
      t.ok(error.quietMs >= 1_500);
      t.match(error.end, { result: { isError: true, terminalReason: 'aborted_streaming' } });
      t.equal(worker.process.idle, true, 'and the process has obeyed');
    },
  );

  await t.test('a stream that ends with an error is that error', async (t) => {
    t.match(failureOf(await run('[[error overloaded_error]]')), { code: 'overloaded' });
    t.match(failureOf(await run('[[drop]]')), { code: 'model_unavailable' });
    // The CLI repeats a request whose stream has failed, even with CLAUDE_CODE_MAX_RETRIES=0.
    t.equal((await run('[[error overloaded_error x1]] [[say fine]]')).result.result, 'fine');
  });

  await t.test('an interrupted tool ends with its turn', async (t) => {
    const ending = new AbortController();
    const turn = run('[[tool Bash {"command":"tail -f /dev/null"}]]', {
      signal: ending.signal,
      interruptGrace: 60_000,
    });
    await until('Bash runs', () => tailsOf(config).length === 1);
    ending.abort(new BerthError('interrupted', 'enough'));
    t.match(failureOf(await turn), { code: 'interrupted', details: { cost_usd: Number } });
    await until('the tool is gone', () => tailsOf(config).length === 0);
  });

  await t.test('a process that obeys late is used again', async (t) => {
    const ending = new AbortController();
    const turn = run('[[hang stream]] once more', { signal: ending.signal });
    await api.waitForRequest((request) => promptText(request) === '[[hang stream]] once more');
    process.kill(worker.process.pid ?? 0, 'SIGSTOP');
    ending.abort(new BerthError('prompt_timeout', 'too long'));
    await t.rejects(turn, { code: 'prompt_timeout' });
    const { promise, resolve } = Promise.withResolvers<boolean>();
    afterTurn(worker, resolve);
    process.kill(worker.process.pid ?? 0, 'SIGCONT');
    t.equal(await promise, true);
    t.equal((await run('[[say well]]')).result.result, 'well');
  });
});
