/**
 * Work that goes on without a prompt. When such work ends is berth's own decision: there the scripted CLI is enough, which
 * does not end such work itself. The report about the work, and scheduled turns, are the real CLI's.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { digestToken, fixedTokens } from '../../../../supervisor/http/tokens.ts';
import { schedulingTools } from '../../../../supervisor/profiles/unprompted.ts';
import { bashAllowed, realClaude, scriptedClaude } from '../../../support/claude.ts';
import { promptText, type RecordedRequest } from '../../../support/messages-api.ts';
import { tailsOf } from '../../../support/processes.ts';
import { leaveScheduledTask } from '../../../support/scheduled-task.ts';
import {
  type Answered,
  type RunningSupervisor,
  startSupervisor,
  startWithRealCli,
  token,
} from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';
import { inSeconds, limitHeaders } from '../../../support/usage-limit.ts';

// A scheduled turn may begin as late as the next minute, and each test waits most of the time.
t.jobs = 7;

const inBackground = (command: string): string =>
  `[[tool Bash ${JSON.stringify({ command, run_in_background: true })}]]`;

const textOf = ({ body }: RecordedRequest): string => JSON.stringify(body?.messages ?? []);

interface Setting {
  cli?: string;
  /** The lines of the only profile, in braces. */
  profile?: string;
  /** The idle time-out. */
  idle?: string;
  /** The names that have a token now. */
  names?: () => string[];
  environment?: Record<string, string | undefined>;
}

async function start(
  t: Test,
  { cli = realClaude, profile = '{}', idle = '10m', names, environment = {} }: Setting,
): Promise<RunningSupervisor> {
  const tokens = fixedTokens([{ name: 'tests', digest: digestToken(token) }]);
  return startSupervisor(t, {
    cli,
    environment,
    ...(names ? { tokens: { ...tokens, names } } : {}),
    config: { 'settings.json': bashAllowed, 'profiles.yaml': `profiles: {default: ${profile}}\n` },
    settings: {
      BERTH_PROFILES_FILE: join(t.testdirName, 'config', 'profiles.yaml'),
      BERTH_WORKER_IDLE_TIMEOUT: idle,
    },
  });
}

const sessionOf = async ({ call }: RunningSupervisor, id: string) =>
  (await call('GET', `/v1/sessions/${id}`)).body;

t.test('work in the background outlives an idle time-out, and its report is given', async (t) => {
  const running = await start(t, { idle: '1s' });
  const { prompt, log, surroundings } = running;
  const done = join(surroundings.workspace, 'done');
  // It ends after the answer, and later than the idle time-out.
  const work = inBackground(`until [ -e '${done}' ]; do sleep 0.1; done; sleep 2`);
  const { body } = await prompt(`${work} [[say begun]]`);
  t.equal(body.result, 'begun');
  t.match(body.warnings, [/continues in the background: "until /]);
  writeFileSync(done, '');
  const { session_id } = body;
  // Its own turn is the last thing that the process does before it is idle.
  await until('the report is counted', async () => {
    return (await sessionOf(running, session_id)).cost_usd > body.cost_usd;
  });
  await log.logged('worker_recycled', ({ reason }) => reason === 'idle');
  const next = (await prompt('[[say next]]', { session_id })).body;
  t.match(next, { result: 'next', background: [{ result: String, is_error: false }] });
  t.same(next.warnings, []);
  const last = (await prompt('[[say last]]', { session_id })).body;
  t.notOk('background' in last, 'a report is given once');
});

t.test('a background task keeps its process only as long as the profile allows', async (t) => {
  const { prompt, log, surroundings } = await start(t, {
    cli: scriptedClaude,
    profile: '{limits: {background: 2s}}',
    idle: '1s',
  });
  let runs = false;
  // The time counts from the end of the turn.
  surroundings.api.reply(async (request) => {
    if (!/tool_result/.test(textOf(request))) return undefined;
    await until('the command runs', () => tailsOf(surroundings.config).length > 0);
    runs = true;
    return undefined;
  });
  await prompt(`${inBackground('tail -f /dev/null')} [[say begun]]`);
  t.ok(runs);
  await log.logged('worker_recycled', ({ reason }) => reason === 'idle');
  await until('it is gone', () => tailsOf(surroundings.config).length === 0);
});

t.test(
  'a prompt that needs another process waits for reports and lists the ended tasks',
  async (t) => {
    const { prompt, surroundings } = await start(t, { profile: '{overrides: [max_turns]}' });
    const { api, config, workspace } = surroundings;
    const isReport = (request: RecordedRequest): boolean =>
      /task-notification/.test(textOf(request)) && !textOf(request).includes('[[say then]]');
    api.reply((each) => (isReport(each) ? { text: 'reported', delay: 500 } : undefined));
    const done = join(workspace, 'done');
    const short = inBackground(`until [ -e '${done}' ]; do sleep 0.1; done`);
    const long = inBackground('tail -f /dev/null');
    const { session_id } = (await prompt(`${long} ${short} [[say begun]]`)).body;
    await until('the command runs', () => tailsOf(config).length === 1);
    writeFileSync(done, '');
    await api.waitForRequest(isReport);
    // Other flags need another process.
    const next = await prompt('[[say then]]', { session_id, max_turns: 5 });
    t.match(next, { status: 200, body: { result: 'then' } });
    const ended = /was ended: "tail -f \/dev\/null"; the next prompt needed a process with other/;
    t.match(next.body.background, [
      { result: 'reported', is_error: false },
      { result: ended, is_error: true },
    ]);
    t.equal(tailsOf(config).length, 0);
  },
);

t.test('a pause ends work that goes on without a prompt', async (t) => {
  const { prompt, call, log, surroundings } = await start(t, {
    cli: scriptedClaude,
    idle: '1s',
  });
  await prompt(`${inBackground('tail -f /dev/null')} [[say begun]]`);
  await until('the command runs', () => tailsOf(surroundings.config).length > 0);
  t.equal((await call('POST', '/v1/pause')).status, 200);
  t.match(await log.logged('unprompted_ended'), { reason: 'paused' });
  await until('it is gone', () => tailsOf(surroundings.config).length === 0);
});

t.test('work in the background ends when no token of its name is left', async (t) => {
  const names: string[] = ['tests'];
  const { prompt, log, surroundings } = await start(t, {
    cli: scriptedClaude,
    idle: '1s',
    names: () => names,
  });
  await prompt(`${inBackground('tail -f /dev/null')} [[say begun]]`);
  await until('the command runs', () => tailsOf(surroundings.config).length > 0);
  names.pop();
  t.match(await log.logged('unprompted_ended'), { reason: 'token_revoked' });
  await until('it is gone', () => tailsOf(surroundings.config).length === 0);
});

t.test('work in the background ends at the usage limit of the account', async (t) => {
  const subscription = {
    ANTHROPIC_API_KEY: undefined,
    CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-of-the-tests',
  };
  const { prompt, log, surroundings } = await start(t, {
    cli: scriptedClaude,
    environment: subscription,
  });
  const { body } = await prompt(`${inBackground('tail -f /dev/null')} [[say begun]]`);
  const { session_id } = body;
  await until('the command runs', () => tailsOf(surroundings.config).length > 0);
  const headers = limitHeaders('rejected', inSeconds(3_600), 'five_hour', '1.0');
  const limited = await prompt(`[[status 429 ${headers}]]`, { session_id });
  t.equal(limited.body.code, 'usage_limit');
  t.match(await log.logged('unprompted_ended'), { session_id, reason: 'usage_limit' });
  await until('it is gone', () => tailsOf(surroundings.config).length === 0);
});

t.test('a drain ends work in the background', async (t) => {
  const { prompt, log, supervisor, surroundings } = await start(t, { cli: scriptedClaude });
  const { body } = await prompt(`${inBackground('tail -f /dev/null')} [[say begun]]`);
  await until('the command runs', () => tailsOf(surroundings.config).length > 0);
  await supervisor.stop();
  const { session_id } = body;
  t.match(await log.logged('unprompted_ended'), { session_id, reason: 'draining' });
  t.match(await log.logged('worker_recycled'), { session_id, reason: 'unprompted' });
  t.equal(tailsOf(surroundings.config).length, 0);
});

t.test('a scheduled turn ends when the budget is used up', async (t) => {
  const profile = '{unprompted: allow, limits: {daily_budget_usd: 0.0001}}';
  const { prompt, log, surroundings } = await start(t, { profile });
  const { api, workspace } = surroundings;
  leaveScheduledTask(workspace, 'WAKE [[hang stream]]');
  // A task that fires before the prompt has been answered must not make it wait.
  let answered = false;
  const isWaking = (request: RecordedRequest): boolean => promptText(request).startsWith('WAKE');
  api.reply((request) => (isWaking(request) && !answered ? { text: 'early' } : undefined));
  await prompt('[[say one]]');
  answered = true;
  const before = api.requests.length;
  const ended = () => log.lines.find(({ event }) => event === 'unprompted_ended');
  t.match(await until('the turn is ended', ended, 150_000), { reason: 'budget_exceeded' });
  // It may have been ended before its first call of the model.
  const calls = () => api.requests.slice(before).filter(isWaking);
  await until('its call is broken off', () =>
    calls().every(({ outcome }) => outcome === 'abandoned'),
  );
});

const profiles = 'profiles:\n  default: {}\n  waking: {unprompted: allow}\n';

t.test('scheduled turns, by a profile that allows them', async (t) => {
  const tokens = fixedTokens([{ name: 'tests', digest: digestToken(token) }]);
  const running = await startWithRealCli(t, {
    tokens,
    config: { 'profiles.yaml': profiles },
    settings: {
      BERTH_PROFILES_FILE: join(t.testdirName, 'config', 'profiles.yaml'),
      BERTH_WORKER_IDLE_TIMEOUT: '10m',
    },
  });
  const { prompt, surroundings, call } = running;
  const { api, workspace } = surroundings;
  leaveScheduledTask(workspace, 'WAKE [[say woken]]');
  const woken = () => api.requests.filter((request) => promptText(request).startsWith('WAKE'));
  let denied: Answered['body'];
  let allowed: Answered['body'];

  await t.test('another profile offers no tools that schedule, and no task fires', async (t) => {
    denied = (await prompt('[[tool CronList {}]]')).body;
    t.match(denied.result, /No such tool available: CronList/);
    const offered = api.requests.flatMap(({ body }) => body?.tools ?? []).map(({ name }) => name);
    t.ok(offered.includes('Bash'));
    t.same(
      offered.filter((name) => schedulingTools.includes(name)),
      [],
    );
    t.same(woken(), [], 'a task in the shared directory does not fire');
  });

  await t.test('tools that schedule are offered, and tasks fire', async (t) => {
    allowed = (await prompt('[[say one]]', { profile: 'waking' })).body;
    const request = await api.waitForRequest(
      (each) => promptText(each).startsWith('WAKE'),
      150_000,
    );
    t.match(JSON.stringify(request.body?.tools), /ScheduleWakeup/);
  });

  await t.test('a scheduled turn counts for its session and for the token', async (t) => {
    const costOf = async ({ session_id }: Answered['body']): Promise<number> =>
      (await sessionOf(running, session_id)).cost_usd;
    // The task fires each minute: both figures are of one moment if the session has paid for no turn meanwhile.
    const { counted, spent } = await until(
      'the turn is counted',
      async () => {
        const counted = await costOf(allowed);
        const { spending } = (await call('GET', '/v1/status')).body;
        const isSame = counted === (await costOf(allowed));
        return (
          isSame && counted > allowed.cost_usd && { counted, spent: spending.tokens[0].spent_usd }
        );
      },
      150_000,
    );
    const other = await costOf(denied);
    t.equal(other, denied.cost_usd, 'the other session has paid for nothing');
    const rest = spent - other - counted;
    t.ok(Math.abs(rest) < 1e-9, 'the token has paid for both sessions');
    t.match(await sessionOf(running, allowed.session_id), { turns: 1 });
  });

  await t.test('the session goes on after a scheduled turn', async (t) => {
    const next = await prompt('[[say two]]', { session_id: allowed.session_id });
    t.equal(next.body.result, 'two');
  });
});
