import { existsSync, globSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Pool } from '../../../supervisor/pool/pool.ts';
import { LivePrompt } from '../../../supervisor/prompts/live-prompts.ts';
import { isInTranscript } from '../../../supervisor/prompts/resume-prompt.ts';
import { bashAllowed, makeSurroundings, scriptedClaude } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';
import { promptText, type RecordedRequest } from '../../support/messages-api.ts';
import { type FoundProcess, processesOf, tailsOf } from '../../support/processes.ts';
import { collect, upTo } from '../../support/read-events.ts';
import {
  type RunningSupervisor,
  startSupervisor,
  startWithRealCli,
} from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.jobs = 2;

const carryOn = 'Your process was replaced. Carry on where you stopped.';

/** The CLI processes of the workers. */
const workersOf = ({ surroundings }: RunningSupervisor): FoundProcess[] =>
  processesOf(surroundings.config).filter(
    ({ leader, command }) => leader && /claude/.test(command),
  );

/** What the CLI has written down of a session so far; that comes a moment after it happens. */
function transcriptOf({ surroundings }: RunningSupervisor, sessionId: string): string {
  const [path] = globSync(`projects/*/${sessionId}.jsonl`, { cwd: surroundings.config });
  return path === undefined ? '' : readFileSync(join(surroundings.config, path), 'utf8');
}

/** As the kernel does when memory is short. */
function killWorkers(running: RunningSupervisor): void {
  const found = workersOf(running);
  if (found.length === 0) throw new Error('no worker is there');
  for (const { pid } of found) process.kill(pid, 'SIGKILL');
}

t.test('a transcript that cannot be read is not taken for one without the prompt', async (t) => {
  const directory = testDirectory(t, {
    good: '{"uuid":"one"}\n',
    link: t.fixture('symlink', 'good'),
    directory: {},
  });
  t.equal(await isInTranscript(join(directory, 'good'), ['one']), true);
  t.equal(await isInTranscript(join(directory, 'good'), ['two']), false);
  for (const name of ['link', 'nowhere']) {
    t.equal(await isInTranscript(join(directory, name), ['one']), false, name);
  }
  await t.rejects(isInTranscript(join(directory, 'directory'), ['one']), { code: 'EISDIR' });
});

const askedFor = (text: string) => (request: RecordedRequest) => promptText(request) === text;

const asked = ({ surroundings }: RunningSupervisor, text: string): number =>
  surroundings.api.requests.filter(askedFor(text)).length;

t.test('turns of the real CLI in one session', async (t) => {
  const running = await startWithRealCli(t, { config: { 'settings.json': bashAllowed } });
  const { stream, prompt, call, log, metricsUrl, surroundings } = running;
  let session_id = '';

  await t.test('a turn whose process is killed in mid-stream goes on in another', async (t) => {
    const events = stream('[[hang stream]] [[say one two three four five six seven eight]]');
    const first = await upTo(events, 'session');
    session_id = first.data.session_id;
    await upTo(events, 'text');
    killWorkers(running);
    const recycled = await upTo(events, 'recycled');
    t.strictSame(recycled.data, { reason: 'crashed', session_id });
    const rest = await collect(events);
    const begun = rest.find(({ event }) => event === 'session');
    t.match(begun, { event: 'session', data: { session_id } });
    t.ok(rest.some(({ event }) => event === 'text'));
    t.match(rest.at(-1), {
      event: 'result',
      data: { recycled: 1, recycle_reason: 'crashed', session_id },
    });
    t.equal(asked(running, carryOn), 1);
    t.match(JSON.stringify(surroundings.api.requests.at(-1)?.body), /one two three/);
    t.match(await log.logged('turn_carried_on'), { level: 'warn', reason: 'crashed' });
    t.match(await log.logged('turn_finished'), { level: 'info', recycled: 1 });
    t.equal(log.count('turn_finished'), 1);
    const metrics = await (await fetch(new URL('/metrics', metricsUrl))).text();
    t.match(metrics, /berth_turns_carried_on_total\{reason="crashed"\} 1/);
  });

  await t.test(
    'a prompt that is killed during a tool call continues and keeps its usage',
    async (t) => {
      const simple = await prompt('[[say hello]]', { session_id });
      const { input_tokens, cache_creation_input_tokens } = simple.body.usage;
      t.ok(input_tokens + cache_creation_input_tokens > 0);
      const before = (await call('GET', `/v1/sessions/${session_id}`)).body;
      const command = 'tail -f /dev/null';
      const answer = prompt(`[[tool Bash ${JSON.stringify({ command })}]]`, { session_id });
      await until('the tool runs', () => tailsOf(surroundings.config).length > 0);
      const calls = () => transcriptOf(running, session_id).includes('"type":"tool_use"');
      await until('its call is written down', calls);
      killWorkers(running);
      const { status, body } = await answer;
      t.match({ status, body }, { status: 200, body: { recycled: 1, session_id } });
      t.strictSame(tailsOf(surroundings.config), [], 'what the lost process ran is gone');
      const messages = surroundings.api.requests.at(-1)?.body?.messages;
      t.match(JSON.stringify(messages), /outcome is unknown/);
      t.equal(body.num_turns, 2, 'the call of the tool counts');
      const session = (await call('GET', `/v1/sessions/${session_id}`)).body;
      t.equal(session.turns, before.turns + 1);
      const sum = (kind: string) => before.usage[kind] + body.usage[kind];
      for (const kind of Object.keys(body.usage)) t.equal(session.usage[kind], sum(kind), kind);
      t.ok(Math.abs(session.cost_usd - before.cost_usd - body.cost_usd) < 1e-9);
      // A call with the tool in its answer, and one with what became of it.
      t.ok(body.usage.output_tokens > simple.body.usage.output_tokens);
    },
  );
});

t.test('turns of the real CLI, each session in its own directory', async (t) => {
  const running = await startWithRealCli(t, {
    config: { 'settings.json': bashAllowed },
    settings: { BERTH_WORKING_DIRECTORY: 'session' },
  });
  const { stream, call, surroundings } = running;
  const idsOf = async (): Promise<string[]> =>
    (await call('GET', '/v1/sessions')).body.sessions.map(({ id }: { id: string }) => id);
  let parent = '';

  await t.test(
    'a prompt killed before the API request is sent again, and no dead session stays',
    async (t) => {
      let killed = false;
      surroundings.api.reply((request) =>
        !killed && askedFor('[[say begun]]')(request) ? { ending: 'hang headers' } : undefined,
      );
      const events = stream('[[say begun]]');
      await upTo(events, 'session');
      killWorkers(running);
      killed = true;
      const all = await collect(events);
      const { data } = all.find(({ event }) => event === 'result') ?? { data: undefined };
      t.match(data, { result: /begun|You said/, recycled: 1 });
      parent = data.session_id;
      t.strictSame(await idsOf(), [parent]);
      const directories = readdirSync(join(surroundings.workspace, 'sessions'));
      t.equal(directories.length, 1, 'nor its directory');
      const again = stream('[[say again]]', { session_id: parent });
      t.match((await collect(again)).at(-1), { event: 'result', data: { result: 'again' } });
    },
  );

  await t.test('a fork is carried on as itself, in the directory that it has', async (t) => {
    const { turns } = (await call('GET', `/v1/sessions/${parent}`)).body;
    const command = 'touch here; pwd';
    const tool = `[[tool Bash ${JSON.stringify({ command })}]]`;
    const events = stream(`${tool} [[hang stream]]`, { session_id: parent, fork: true });
    const { session_id: fork } = (await upTo(events, 'session')).data;
    t.not(fork, parent);
    await upTo(events, 'text');
    killWorkers(running);
    t.match((await collect(events)).at(-1), {
      event: 'result',
      data: { recycled: 1, session_id: fork },
    });
    const shown = (await call('GET', `/v1/sessions/${fork}`)).body;
    t.match(shown, { forked_from: parent, turns: 1 });
    t.ok(existsSync(join(shown.working_directory.path, 'here')));
    t.match((await call('GET', `/v1/sessions/${parent}`)).body, { turns });
    t.equal((await idsOf()).length, 2);
  });
});

t.test('a follow-up that does not stand in the transcript is sent again', async (t) => {
  const running = await startSupervisor(t);
  const { prompt, surroundings } = running;
  const { session_id } = (await prompt('[[say one]]')).body;
  // Stopped it reads nothing, so nothing of the prompt is written down.
  for (const { pid } of workersOf(running)) process.kill(pid, 'SIGSTOP');
  const answer = prompt('[[say two]]', { session_id });
  await running.log.logged('turn_started', ({ worker }) => worker === 'worker-1');
  await until('the second turn runs', () => running.log.count('turn_started') === 2);
  killWorkers(running);
  t.match(await answer, { status: 200, body: { result: 'two', recycled: 1, session_id } });
  t.equal(asked(running, carryOn), 0);
  t.match(JSON.stringify(surroundings.api.requests.at(-1)?.body), /say one/);
});

t.test('a second loss ends the turn with worker_lost', async (t) => {
  const running = await startSupervisor(t, { config: { 'settings.json': bashAllowed } });
  const { stream, surroundings, metricsUrl, log } = running;
  surroundings.api.reply((request) =>
    promptText(request) === carryOn ? { text: 'half of it', ending: 'hang stream' } : undefined,
  );
  const events = stream('[[say a long story]] [[hang stream]]');
  await upTo(events, 'text');
  killWorkers(running);
  await upTo(events, 'recycled');
  await upTo(events, 'text');
  killWorkers(running);
  const last = (await collect(events)).at(-1);
  t.match(last, {
    event: 'error',
    data: { code: 'worker_lost', retryable: false, session_id: String },
  });
  t.equal(log.count('turn_finished'), 1);
  const metrics = await (await fetch(new URL('/metrics', metricsUrl))).text();
  t.match(metrics, /berth_turns_carried_on_total\{reason="crashed"\} 1/);
  t.match(metrics, /berth_turns_lost_total\{reason="crashed"\} 1/);
  const status = (await running.call('GET', '/v1/status')).body;
  t.match(status, { turns_carried_on: { crashed: 1 }, turns_lost: { crashed: 1 } });
  t.ok(status.recycles.crashed >= 2, 'both workers count');
  surroundings.api.reply(undefined);
  const { session_id } = last?.data ?? {};
  t.match(await running.prompt('[[say on]]', { session_id }), { status: 200 });
});

/** The scripted CLI, but the answers of the first process do not name their prompts. @returns its path */
function namesNoPromptAtFirst(directory: string): string {
  const path = join(directory, 'claude');
  const script = `#!/bin/sh
[ "$1" = --version ] && exec '${scriptedClaude}' --version
mkdir "$0-has-started" 2>/dev/null || exec '${scriptedClaude}' "$@"
'${scriptedClaude}' "$@" | sed -u '/"num_turns":0/!s/"user_message_uuids":[[][^]]*]/"user_message_uuids":[]/'
`;
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}

t.test('a turn whose result names no prompt goes on in another process', async (t) => {
  const surroundings = await makeSurroundings(t);
  const cli = namesNoPromptAtFirst(join(surroundings.workspace, '..'));
  const running = await startSupervisor(t, { cli, surroundings });
  const { prompt, log } = running;
  const { status, body } = await prompt('[[say one]]');
  t.match({ status, body }, { status: 200, body: { recycled: 1, recycle_reason: 'crashed' } });
  t.match(await log.logged('turn_carried_on'), { level: 'warn', reason: 'crashed' });
  t.equal(asked(running, carryOn), 1, 'the prompt itself is not sent again');
  t.equal(asked(running, '[[say one]]'), 1);
  const { session_id } = body;
  t.match(await prompt('[[say two]]', { session_id }), { status: 200, body: { result: 'two' } });
});

t.test('a turn that hangs is interrupted and resumed once', async (t) => {
  // The process that resumes the turn must not be silent for so long, on a slow machine too.
  const running = await startSupervisor(t, { settings: { BERTH_HANG_TIMEOUT: '4s' } });
  const { prompt, log } = running;
  const { status, body } = await prompt('[[hang stream]]');
  t.match({ status, body }, { status: 200, body: { recycled: 1, recycle_reason: 'hung' } });
  t.match(await log.logged('worker_recycled'), { reason: 'unresponsive' });
  t.equal(log.count('turn_carried_on'), 1);
  t.equal(asked(running, carryOn), 1);
});

t.test('with on_recycle "fail", a lost turn ends with a retryable error', async (t) => {
  const running = await startSupervisor(t);
  const { stream, surroundings } = running;
  const events = stream('[[hang stream]]', { on_recycle: 'fail' });
  const { data } = await upTo(events, 'session');
  await surroundings.api.waitForRequest(askedFor('[[hang stream]]'));
  await upTo(events, 'text');
  killWorkers(running);
  const rest = await collect(events);
  const last = rest.at(-1);
  t.match(last, { event: 'error', data: { code: 'worker_recycled', retryable: true } });
  // Killed before the CLI had noted the prompt, there is no session that could be continued.
  t.ok([data.session_id, undefined].includes(last?.data.session_id));
  // More of its text may have been on the way.
  t.same(
    rest.slice(0, -1).filter(({ event }) => event !== 'text'),
    [],
  );
  t.equal(asked(running, carryOn), 0);
});

t.test('the reason of a process that memory ended is memory', async (t) => {
  const pools: Pool[] = [];
  const { start } = Pool.prototype;
  const watched = t.capture(Pool.prototype, 'start', function (this: Pool) {
    pools.push(this);
    start.call(this);
  });
  const running = await startSupervisor(t);
  watched.restore();
  const events = running.stream('[[hang stream]]');
  await upTo(events, 'text');
  const mine = new Set(workersOf(running).map(({ pid }) => pid));
  for (const pool of pools) {
    for (const worker of pool.workers) {
      // Another test may have started its supervisor meanwhile.
      if (mine.has(worker.process.pid ?? 0)) void pool.recycle(worker, 'memory', true);
    }
  }
  t.match(await upTo(events, 'recycled'), { data: { reason: 'memory' } });
  t.match((await collect(events)).at(-1), {
    event: 'result',
    data: { recycled: 1, recycle_reason: 'memory' },
  });
});

t.test('a prompt that is resumed gets no new time limit', async (t) => {
  const timeout = 5_000;
  const limited: LivePrompt[] = [];
  const { limitTime } = LivePrompt.prototype;
  t.capture(LivePrompt.prototype, 'limitTime', function (this: LivePrompt, reason) {
    limitTime.call(this, reason);
    // Another test may run meanwhile.
    if (this.prompt.timeout !== timeout) return;
    limited.push(this);
    // The starts of processes take none of the time, however slow the machine is.
    this.deadline?.pause();
  });
  const running = await startSupervisor(t);
  running.surroundings.api.reply((request) =>
    promptText(request) === carryOn ? { text: 'half', ending: 'hang stream' } : undefined,
  );
  const events = running.stream('[[hang stream]]', { timeout: `${timeout}ms` });
  await upTo(events, 'text');
  const deadline = limited[0]?.deadline;
  deadline?.resume();
  await until('some of the time has passed', () => (deadline?.left ?? 0) < timeout - 500);
  deadline?.pause();
  killWorkers(running);
  await upTo(events, 'recycled');
  await upTo(events, 'text');
  t.equal(limited.length, 1);
  t.equal(limited[0]?.deadline, deadline);
  t.ok(Number(deadline?.left) <= timeout - 500, 'the new process has only the rest of the time');
  deadline?.resume();
  t.match((await collect(events)).at(-1), { event: 'error', data: { code: 'prompt_timeout' } });
});

t.test('prompts to a session whose turn is carried on come after it', async (t) => {
  const running = await startSupervisor(t);
  const { stream, prompt, surroundings, call } = running;
  const events = stream('[[hang stream]]');
  const { session_id } = (await upTo(events, 'session')).data;
  await upTo(events, 'text');
  const next = prompt('[[say next]]', { session_id });
  const length = async () => (await call('GET', '/v1/status')).body.queue.length;
  await until('the next one waits', async () => (await length()) === 1);
  killWorkers(running);
  t.match((await collect(events)).at(-1), { event: 'result', data: { recycled: 1, session_id } });
  t.match(await next, { status: 200, body: { result: 'next', recycled: 0, session_id } });
  const order = surroundings.api.requests.map(promptText);
  t.ok(order.indexOf(carryOn) < order.indexOf('[[say next]]'));
});

t.test('between two attempts a turn can be interrupted and its session removed', async (t) => {
  const surroundings = await makeSurroundings(t);
  const cli = join(surroundings.workspace, 'claude-that-does-not-resume');
  // The new process would be faster than the request.
  const script = `#!/bin/sh\ncase " $* " in *" --resume "*) exec cat >> "$0-resumed" ;; esac\nexec '${scriptedClaude}' "$@"\n`;
  writeFileSync(cli, script, { mode: 0o755 });
  writeFileSync(`${cli}-resumed`, '');
  const running = await startSupervisor(t, { surroundings, cli });
  const { stream, call } = running;
  for (const [method, path] of [
    ['POST', '/interrupt'],
    ['DELETE', ''],
  ] as const) {
    const events = stream('[[hang stream]]');
    const { session_id } = (await upTo(events, 'session')).data;
    await upTo(events, 'text');
    killWorkers(running);
    await upTo(events, 'recycled');
    const done = await call(method, `/v1/sessions/${session_id}${path}`);
    t.ok(done.status < 300, `${method}: ${done.status}`);
    t.match((await collect(events)).at(-1), { event: 'error', data: { code: 'interrupted' } });
    if (method === 'DELETE') {
      t.equal((await call('GET', `/v1/sessions/${session_id}`)).status, 404);
    }
  }
  t.notMatch(readFileSync(`${cli}-resumed`, 'utf8'), carryOn);
  t.equal(surroundings.api.requests.filter(askedFor('[[hang stream]]')).length, 2);
});

t.test('a client that leaves while its turn is carried on leaves nothing behind', async (t) => {
  const running = await startSupervisor(t);
  const { stream, log, call } = running;
  const leave = new AbortController();
  const events = stream('[[hang stream]]', {}, leave.signal);
  await upTo(events, 'text');
  killWorkers(running);
  await upTo(events, 'recycled');
  leave.abort();
  t.match(await log.logged('turn_finished'), { code: 'interrupted', recycled: 1 });
  await until('no worker is busy', async () => {
    const { workers, queue } = (await call('GET', '/v1/status')).body;
    return queue.length === 0 && workers.every(({ state }: { state: string }) => state !== 'busy');
  });
  t.equal(log.count('turn_finished'), 1);
  t.match(await running.prompt('[[say well]]'), { status: 200, body: { recycled: 0 } });
});

t.test('a stop while a turn is carried on ends it with a retryable error', async (t) => {
  const running = await startSupervisor(t);
  const events = running.stream('[[hang stream]]');
  await upTo(events, 'text');
  killWorkers(running);
  await upTo(events, 'recycled');
  const [rest] = await Promise.all([collect(events), running.supervisor.stop()]);
  t.match(rest.at(-1), {
    event: 'error',
    data: { code: 'draining', retryable: true, session_id: String },
  });
  t.strictSame(processesOf(running.surroundings.config), []);
});

t.test('the remaining turns and budget move with the turn', async (t) => {
  const profiles = 'profiles: { default: { limits: { max_turns: 5, max_budget_usd: 2 } } }';
  const running = await startSupervisor(t, {
    config: { 'settings.json': bashAllowed, 'profiles.yaml': profiles },
    settings: { BERTH_PROFILES_FILE: join(t.testdirName, 'config', 'profiles.yaml') },
  });
  const { prompt, surroundings } = running;
  // So that it is known what a token costs.
  const { session_id, cost_usd } = (await prompt('[[big 40000]]')).body;
  t.ok(cost_usd > 0.1);
  const command = 'tail -f /dev/null';
  const tools = `[[tool Bash {"command":"true"}]] [[tool Bash ${JSON.stringify({ command })}]]`;
  const answer = prompt(tools, { session_id });
  await until('the tool runs', () => tailsOf(surroundings.config).length > 0);
  t.match(workersOf(running)[0]?.command, /--max-turns=5 --max-budget-usd=2( |$)/);
  surroundings.api.reply((request) =>
    promptText(request) === carryOn ? { text: 'half', ending: 'hang stream' } : undefined,
  );
  killWorkers(running);
  await surroundings.api.waitForRequest(askedFor(carryOn));
  const flags = workersOf(running)[0]?.command ?? '';
  t.match(flags, /--max-turns=3 /);
  const left = Number(/--max-budget-usd=(\S+)/.exec(flags)?.[1]);
  t.ok(left > 1 && left < 2, String(left));
  killWorkers(running);
  const lost = await answer;
  t.match(lost.body, { code: 'worker_lost', num_turns: 2, session_id });
  t.ok(lost.body.usage.output_tokens > 0);
  t.ok(Math.abs(lost.body.cost_usd - (2 - left)) < 1e-6);
});
