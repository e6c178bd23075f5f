import { readFileSync } from 'node:fs';
import t from 'tap';
import type { CliMessage } from '../../../supervisor/claude/protocol.ts';
import { bashAllowed, makeSurroundings, scripted, startProcess } from '../../support/claude.ts';
import { promptText } from '../../support/messages-api.ts';
import { lives, processesOf, tailsOf } from '../../support/processes.ts';
import { until } from '../../support/until.ts';

// Each test has processes and folders of its own, and waits for them most of the time.
t.jobs = 3;

/** Bash that never ends, with a child of its own. */
const endlessBash = '[[tool Bash {"command":"tail -f /dev/null & tail -f /dev/null"}]]';

t.test('one process of the real CLI, turn after turn', async (t) => {
  const surroundings = await makeSurroundings(t, { 'settings.json': bashAllowed });
  const child = startProcess(t, surroundings);

  await t.test('a turn gives its messages in sequence and then its result', async (t) => {
    const messages: CliMessage[] = [];
    const prompt = '[[tool Bash {"command":"echo from-a-tool"}]]';
    const result = await child.run(prompt, (message) => messages.push(message));
    t.match(result, {
      subtype: 'success',
      isError: false,
      result: '[stand-in] The tool answered: from-a-tool',
      numTurns: 2,
      stopReason: 'end_turn',
      otherOrigin: false,
      permissionDenials: [],
    });
    t.ok(result.costUsd > 0 && result.usage.output_tokens > 0, 'it says what it cost');
    const kinds = messages.map(({ kind }) => kind);
    t.same([...new Set(kinds)], ['session', 'usage', 'tools', 'tool_results', 'text']);
    t.match(messages[0], { kind: 'session', sessionId: result.sessionId });
    const text = messages.map((message) => (message.kind === 'text' ? message.text : '')).join('');
    t.equal(text, result.result);
    t.equal(child.idle, true);
  });

  await t.test('a second turn goes on with the same session, and costs only its own', async (t) => {
    const first = await child.run('[[big 40000]]');
    const second = await child.run('[[say two]]');
    t.equal(second.result, 'two');
    t.equal(second.sessionId, first.sessionId);
    t.ok(second.costUsd < first.costUsd, 'the cost is not the sum of the process');
    const request = await surroundings.api.waitForRequest(
      (request) => promptText(request) === '[[say two]]',
    );
    t.match(JSON.stringify(request.body?.messages), /\[\[big 40000\]\]/);
  });

  await t.test('a prompt while a turn runs is refused, and the turn goes on', async (t) => {
    const running = child.run('[[say first]]');
    t.equal(child.idle, false);
    await t.rejects(child.run('[[say second]]'), {
      code: 'internal',
      message: /a turn is running/,
    });
    t.equal((await running).result, 'first');
  });

  await t.test('an interrupted turn gives a result, and the process lives on', async (t) => {
    const running = child.run(endlessBash);
    await until('Bash runs', () => tailsOf(surroundings.config).length === 2);
    await child.interrupt();
    t.match(await running, { isError: true, terminalReason: /^aborted_/ });
    t.equal((await child.run('[[say alive]]')).result, 'alive');
    await until('the tool is gone', () => tailsOf(surroundings.config).length === 0);
  });

  await t.test('an interrupt when nothing runs does not touch the next turn', async (t) => {
    await child.control({ subtype: 'initialize' });
    void child.interrupt();
    t.equal((await child.run('[[say untouched]]')).result, 'untouched');
  });

  await t.test('a signal for the group of the supervisor does not reach it', async (t) => {
    const [, group] =
      /\) \w \d+ (\d+) /.exec(readFileSync(`/proc/${child.pid}/stat`, 'utf8')) ?? [];
    t.equal(Number(group), child.pid);
  });

  await t.test('stop ends an idle process by the end of its input', async (t) => {
    t.match(await child.stop(60_000), { exitCode: 0, signal: null });
  });
});

t.test('killed in mid-turn, the turn rejects, and so does all that comes after', async (t) => {
  const { api, ...rest } = await makeSurroundings(t);
  const child = startProcess(t, { api, ...rest });
  const running = child.run('[[hang stream]]');
  await api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  process.kill(child.pid ?? 0, 'SIGKILL');
  await t.rejects(running, { code: 'worker_lost', message: /was ended by SIGKILL; its tools/ });
  t.match(await child.ended, { exitCode: null, signal: 'SIGKILL' });
  t.equal(child.alive, false);
  await t.rejects(child.run('[[say ghost]]'), { code: 'cli_unavailable' });
  await t.rejects(child.control({ subtype: 'initialize' }), { code: 'cli_unavailable' });
});

t.test('the error for a process that dies has the last lines of standard error', async (t) => {
  const child = startProcess(t, await makeSurroundings(t), { path: scripted('claude-that-exits') });
  await t.rejects(child.run('hello'), {
    code: 'cli_unavailable',
    message: /ended with exit code 3 \(starting up\ncannot open the moon\)/,
    details: { exit_code: 3 },
  });
});

t.test('a program that is not there rejects too, and stopping it is no error', async (t) => {
  const child = startProcess(t, await makeSurroundings(t), { path: '/nowhere/claude' });
  await t.rejects(child.run('hello'), { code: 'cli_unavailable', message: /ENOENT/ });
  t.equal(child.pid, undefined);
  t.match(await child.stop(), { exitCode: null });
});

t.test('a stop during a turn leaves no process behind', async (t) => {
  const surroundings = await makeSurroundings(t, { 'settings.json': bashAllowed });
  const child = startProcess(t, surroundings);
  const running = child.run(endlessBash);
  running.catch(() => {});
  await until('Bash runs', () => tailsOf(surroundings.config).length === 2);
  const stopped = child.stop(10_000);
  t.equal(child.stop(), stopped, 'a second call waits for the first');
  await stopped;
  // Those that Bash has started have the signal too, and end by themselves.
  await until('nothing is left', () => processesOf(surroundings.config).length === 0);
  await t.rejects(running, { code: 'worker_lost' });
});

t.test('a stop kills a process that ignores the end of its input and SIGTERM', async (t) => {
  const surroundings = await makeSurroundings(t);
  const { promise: deaf, resolve } = Promise.withResolvers<unknown>();
  const child = startProcess(t, surroundings, {
    path: scripted('claude-that-is-silent'),
    onStray: resolve,
  });
  await deaf;
  t.match(await child.stop(50), { signal: 'SIGKILL' });
  t.equal(lives(child.pid ?? 0), false);
});

t.test('a line between the messages that is not JSON is reported once and ignored', async (t) => {
  const strays: unknown[] = [];
  const child = startProcess(t, await makeSurroundings(t), {
    path: scripted('claude-that-babbles'),
    onStray: (error) => strays.push(error),
  });
  await child.control({ subtype: 'initialize' });
  t.equal((await child.run('one')).result, 'still here');
  t.equal((await child.run('two')).result, 'still here');
  t.strictSame(strays, ['a line that is not JSON'], 'once, and without a word of it');
});

t.test('a message that differs from the tested protocol ends the process', async (t) => {
  const child = startProcess(t, await makeSurroundings(t), {
    path: scripted('claude-that-speaks-otherwise'),
  });
  await t.rejects(child.run('one'), {
    code: 'cli_unavailable',
    message: /differs from the tested protocol/,
  });
  t.match(await child.ended, { signal: 'SIGKILL' });
});

t.test('a refused control request rejects with the answer of the CLI', async (t) => {
  const child = startProcess(t, await makeSurroundings(t), {
    path: scripted('claude-that-refuses'),
  });
  await t.rejects(child.interrupt(), { code: 'cli_unavailable', message: /I would rather not/ });
});

t.test('an answer that is the last output of a process is not lost', async (t) => {
  const child = startProcess(t, await makeSurroundings(t), {
    path: scripted('claude-that-ends-with-its-answer'),
  });
  t.equal((await child.run('one')).result, 'the last words');
  t.match(await child.ended, { exitCode: 0 });
});

t.test('the end is seen although another holds the output open', async (t) => {
  const child = startProcess(t, await makeSurroundings(t), {
    path: scripted('claude-that-holds-a-pipe'),
  });
  await t.rejects(child.run('hello'), { code: 'cli_unavailable', message: /exit code 0/ });
  const holder = Number(/child (\d+)/.exec((await child.ended).stderr)?.[1]);
  await until('this side has let go of the pipe, which ends the other', () => !lives(holder));
});
