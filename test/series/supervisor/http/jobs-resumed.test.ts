/** Jobs that wait for an event, and jobs over a restart: by the supervisor with the scripted CLI. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { finishTask } from '../../../../supervisor/prompts/overtaken-turn.ts';
import { bashAllowed, type Surroundings, scriptedClaude } from '../../../support/claude.ts';
import { promptText } from '../../../support/messages-api.ts';
import { type RunningSupervisor, startSupervisor } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

type Call = RunningSupervisor['call'];

async function addJob(call: Call, body: Record<string, unknown>): Promise<string> {
  const accepted = await call('POST', '/v1/jobs', { body });
  return `/v1/jobs/${accepted.body.id}`;
}

/** The job when the condition holds. */
function jobWhen(call: Call, path: string, holds: (job: Record<string, unknown>) => boolean) {
  return until(`${path} is as expected`, async () => {
    const { body } = await call('GET', path);
    return holds(body) ? body : undefined;
  });
}

const isParked = ({ state }: Record<string, unknown>): boolean => state === 'parked';

/** Waits for the end of a job, which may have spent one attempt. */
async function endOf(t: Test, call: Call, path: string) {
  const { body } = await call('GET', `${path}?wait=60s`);
  t.match(body, { state: 'succeeded' }, body.error?.detail);
  t.equal(body.attempts.length, 1, 'one attempt is spent');
  return body;
}

t.test(
  'a running job gets the time of a drain; the next supervisor continues the rest',
  async (t) => {
    const settings = { BERTH_DRAIN: '1h', BERTH_MAX_WORKERS: '3', BERTH_JOB_WORKERS: '3' };
    const { call, supervisor, surroundings, log } = await startSupervisor(t, { settings });
    const refused = await addJob(call, { prompt: '[[status 401 x9]] [[say after the restart]]' });
    t.match(await jobWhen(call, refused, isParked), { parked: { reason: 'login_required' } });
    const finished = await addJob(call, { prompt: '[[slow 100]] [[say in time]]' });
    const cut = await addJob(call, { prompt: '[[hang stream]]' });
    const hasBegun = ({ session_id }: Record<string, unknown>): boolean => session_id !== null;
    await jobWhen(call, finished, hasBegun);
    const { session_id } = await jobWhen(call, cut, hasBegun);
    const cutShort = new AbortController();
    const stopped = supervisor.stop(cutShort.signal);
    await log.logged('job_finished', ({ job_id }) => job_id === finished.slice(9));
    await surroundings.api.waitForRequest((one) => promptText(one) === '[[hang stream]]');
    cutShort.abort();
    await stopped;
    const logged = (event: string) => log.lines.find((line) => line.event === event);
    t.match(logged('job_finished'), { job_id: finished.slice(9), state: 'succeeded' });
    t.match(logged('job_requeued'), { job_id: cut.slice(9), reason: 'draining' });

    const next = await startSupervisor(t, { surroundings });
    t.match(await endOf(t, next.call, finished), { result: { result: 'in time' } });
    t.match(await endOf(t, next.call, cut), { session_id });
    const sent = surroundings.api.requests.filter((one) => promptText(one) === '[[hang stream]]');
    t.equal(sent.length, 1, 'the turn was continued, and its prompt was not sent again');
    // A restart may bring another login.
    await endOf(t, next.call, refused);
  },
);

/** A CLI that resumes a session when there is a file `go` in the workspace. */
function slowToResume({ workspace }: Surroundings): string {
  const path = join(workspace, 'slow-claude');
  const wait = `until [ -e '${workspace}/go' ]; do sleep 0.05; done`;
  const script = `#!/bin/sh
case " $* " in *" --resume "*) ${wait} ;; esac
exec '${scriptedClaude}' "$@"
`;
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}

t.test('a job finishes its own task after another prompt of its session', async (t) => {
  const config = { 'settings.json': bashAllowed };
  const { call, supervisor, surroundings } = await startSupervisor(t, { config });
  const { workspace, api } = surroundings;
  const command = 'touch begun; until [ -e go ]; do sleep 0.05; done';
  const task = `[[tool Bash ${JSON.stringify({ command })}]] [[say the task is done]]`;
  const job = await addJob(call, { prompt: task });
  await until('the tool runs', () => existsSync(join(workspace, 'begun')));
  const { session_id } = (await call('GET', job)).body;
  await supervisor.stop();

  const next = await startSupervisor(t, { surroundings, cli: slowToResume(surroundings) });
  const waiting = (count: number) =>
    until(`${count} prompts wait for the process of the session`, async () => {
      const { queue, workers } = (await next.call('GET', '/v1/status')).body;
      return queue.length === count && workers[0]?.state === 'starting';
    });
  await waiting(1);
  const other = next.prompt('[[say the other prompt is done]]', { session_id });
  await waiting(2);
  writeFileSync(join(workspace, 'go'), '');
  t.match((await other).body, { result: 'the other prompt is done' });
  const ended = await endOf(t, next.call, job);
  t.match(ended, { session_id, result: { result: 'the task is done' } });
  t.equal(promptText(api.requests.at(-1) as never), `${finishTask}\n\n${task}`);
});

t.test('a parked job resumes by itself after the cause is removed', async (t) => {
  const path = join(t.testdirName, 'config', 'profiles.yaml');
  const profiles = (limit: number) => `profiles: {busy: {limits: {prompts_per_hour: ${limit}}}}\n`;
  const { call, surroundings } = await startSupervisor(t, {
    config: { 'profiles.yaml': profiles(1) },
    settings: { BERTH_PROFILES_FILE: path },
  });
  const first = await addJob(call, { prompt: '[[say one]]', profile: 'busy' });
  await endOf(t, call, first);
  const second = await addJob(call, { prompt: '[[say two]]', profile: 'busy' });
  t.match(await jobWhen(call, second, isParked), { parked: { reason: 'prompts_exceeded' } });
  writeFileSync(path, profiles(5));
  t.match(await endOf(t, call, second), { result: { result: 'two' } });

  let isRefused = true;
  surroundings.api.reply(() => (isRefused ? { status: 401, text: 'no such login' } : undefined));
  const third = await addJob(call, { prompt: '[[say three]]' });
  t.match(await jobWhen(call, third, isParked), { parked: { reason: 'login_required' } });
  isRefused = false;
  const claudeAiOauth = {
    ...{ accessToken: 'sk-ant-oat01-made-up', refreshToken: 'sk-ant-ort01-made-up' },
    ...{ expiresAt: Date.now() + 3_600_000, scopes: ['user:inference'] },
  };
  const login = JSON.stringify({ claudeAiOauth });
  writeFileSync(join(surroundings.config, '.credentials.json'), login, { mode: 0o600 });
  await endOf(t, call, third);
});

t.test('a pause interrupts a running job, which continues its session afterwards', async (t) => {
  const { call } = await startSupervisor(t);
  const job = await addJob(call, { prompt: '[[hang stream]]' });
  const { session_id } = await jobWhen(call, job, ({ session_id }) => session_id !== null);
  await call('POST', '/v1/pause');
  t.match(await jobWhen(call, job, isParked), { parked: { reason: 'paused' }, attempts: [] });
  await call('POST', '/v1/resume');
  t.match(await endOf(t, call, job), { session_id });
});
