/** Nothing runs before the CLI has passed its self-test: jobs stay queued, and prompts wait. */
import t, { type Test } from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { abortable } from '../../../shared/waiting.ts';
import type { SelfTestOptions } from '../../../supervisor/cli/self-test.ts';
import { type LivePrompt, LivePrompts } from '../../../supervisor/prompts/live-prompts.ts';
import { makeSurroundings } from '../../support/claude.ts';
import {
  type RunningSupervisor,
  type SupervisorOptions,
  startSupervisor,
} from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

/** A supervisor whose self-test ends as the test decides. */
async function startUntested(t: Test, options: SupervisorOptions = {}) {
  const test = Promise.withResolvers<{ learnsLate: boolean }>();
  const testCli = async ({ signal }: SelfTestOptions) => abortable(test.promise, signal);
  const made = await startSupervisor(t, { parts: { testCli }, ...options });
  const pass = (): void => test.resolve({ learnsLate: false });
  return { ...made, metricsUrl: made.metricsUrl, pass, fail: test.reject };
}

const jobOf = async ({ call }: Pick<RunningSupervisor, 'call'>, text = '[[say job]]') => {
  const { body } = await call('POST', '/v1/jobs', { body: { prompt: text } });
  return body.id as string;
};

/** The prompts under way of all supervisors. */
const live = new Set<LivePrompt>();
const { accept, end } = LivePrompts.prototype;
LivePrompts.prototype.accept = function (prompt) {
  const accepted = accept.call(this, prompt);
  live.add(accepted);
  return accepted;
};
LivePrompts.prototype.end = function (ended) {
  live.delete(ended);
  end.call(this, ended);
};

const underWay = (count: number) =>
  until(`${count} prompts are under way`, () => live.size === count);

t.test('a CLI that fails its self-test runs no queued job and no prompt', async (t) => {
  const surroundings = await makeSurroundings(t);
  const made = await startUntested(t, { surroundings });
  const id = await jobOf(made);
  const prompt = made.prompt('[[say hello]]');
  await underWay(1);
  const failure = new BerthError('cli_unavailable', 'cannot use Claude Code: a test');
  made.fail(failure);
  const refused = { status: 503, body: { code: 'cli_unavailable' } };
  t.match(await prompt, refused);
  t.match(await made.prompt('[[say later]]'), refused);
  t.same(made.fatal, [failure]);
  t.equal((await fetch(`${made.metricsUrl}/readyz`)).status, 503);
  t.match((await made.call('GET', `/v1/jobs/${id}`)).body, { state: 'queued', attempts: [] });
  t.same(surroundings.api.requests, []);
  await made.supervisor.stop();
  const next = await startSupervisor(t, { surroundings });
  const { body: job } = await next.call('GET', `/v1/jobs/${id}?wait=60s`);
  t.match(job, { state: 'succeeded', result: { result: 'job' } }, 'a CLI that passes runs the job');
});

t.test('jobs and prompts that come during the self-test run after it', async (t) => {
  const made = await startUntested(t);
  const id = await jobOf(made);
  const prompt = made.prompt('[[say hello]]');
  await underWay(1);
  t.match((await made.call('GET', `/v1/jobs/${id}`)).body, { state: 'queued', attempts: [] });
  t.same(made.surroundings.api.requests, []);
  made.pass();
  t.match(await prompt, { status: 200, body: { result: 'hello' } });
  t.match((await made.call('GET', `/v1/jobs/${id}?wait=60s`)).body, { state: 'succeeded' });
});

t.test('prompts do not wait for the first worker when the CLI has passed', async (t) => {
  const worker = Promise.withResolvers<void>();
  const testCli = async ({ onPassed, signal }: SelfTestOptions) => {
    onPassed?.();
    await abortable(worker.promise, signal);
    return { learnsLate: false };
  };
  const made = await startSupervisor(t, { parts: { testCli } });
  t.match(await made.prompt('[[say hello]]'), { status: 200 });
  t.equal((await fetch(`${made.metricsUrl}/readyz`)).status, 503);
  worker.resolve();
});

t.test('a pause, the time limit and the caller end the wait for the self-test', async (t) => {
  const made = await startUntested(t);
  const late = await made.prompt('hello', { timeout: '1s' });
  t.match(late, { status: 504, body: { code: 'prompt_timeout' } });
  const caller = new AbortController();
  const left = made.prompt('hello', {}, { signal: caller.signal });
  const paused = made.prompt('hello');
  await underWay(2);
  caller.abort();
  await t.rejects(left);
  await underWay(1);
  await made.call('POST', '/v1/pause', { body: { reason: 'a test' } });
  t.match(await paused, { status: 503, body: { code: 'paused' } });
  t.same(made.surroundings.api.requests, []);
});

t.test('a stop during the self-test ends at once, and the jobs stay queued', async (t) => {
  const surroundings = await makeSurroundings(t);
  const settings = { BERTH_DRAIN: '10m' };
  const made = await startUntested(t, { surroundings, settings });
  const id = await jobOf(made);
  const prompt = made.prompt('hello');
  await underWay(1);
  const stopped = made.supervisor.stop();
  t.match(await prompt, { status: 503, body: { code: 'draining' } });
  await stopped;
  made.pass();
  t.same(made.fatal, []);
  const next = await startUntested(t, { surroundings });
  t.match((await next.call('GET', `/v1/jobs/${id}`)).body, { state: 'queued', attempts: [] });
  t.same(surroundings.api.requests, []);
});
