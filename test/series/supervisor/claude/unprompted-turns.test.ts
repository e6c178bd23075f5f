import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { TurnResult } from '../../../../supervisor/claude/turn-result.ts';
import { bashAllowed, makeSurroundings, scripted, startProcess } from '../../../support/claude.ts';
import { promptText } from '../../../support/messages-api.ts';
import { leaveScheduledTask } from '../../../support/scheduled-task.ts';
import { until } from '../../../support/until.ts';

// Each test has a process of its own, and waits for it most of the time.
t.jobs = 5;

/** Milliseconds until a scheduled turn has begun; the CLI begins it at the next full minute. */
const wakesWithin = 150_000;

/** A process that keeps what its unprompted turns said. */
async function startNoting(t: Test, options: { deniesWakeUps?: boolean } = {}) {
  const surroundings = await makeSurroundings(t, { 'settings.json': bashAllowed });
  const unprompted: TurnResult[] = [];
  const child = startProcess(t, surroundings, {
    onUnprompted: (result) => unprompted.push(result),
    ...options,
  });
  return { ...surroundings, child, unprompted };
}

t.test('a prompt sent while a scheduled turn runs is answered by its own result', async (t) => {
  const { api, workspace, child, unprompted } = await startNoting(t);
  leaveScheduledTask(workspace, 'WAKE [[slow 200]] [[say woken]]');
  t.equal((await child.run('[[say one]]')).result, 'one');
  await api.waitForRequest((request) => promptText(request).startsWith('WAKE'), wakesWithin);
  t.equal((await child.run('[[say two]]')).result, 'two');
  t.match(unprompted, [{ result: 'woken' }]);
  t.ok(unprompted.every(({ costUsd }) => costUsd > 0));
  t.equal((await child.run('[[say three]]')).result, 'three', 'nor is a later answer shifted');
});

t.test('a prompt sent while a report calls tools is not merged into that turn', async (t) => {
  const { api, workspace, child, unprompted } = await startNoting(t);
  const isReport = (text: string): boolean => text.includes('<task-notification>');
  let reports = 0;
  api.reply(({ body }) => {
    const last = JSON.stringify(body?.messages?.at(-1));
    if (!isReport(last) || reports++ > 0) return undefined;
    return { tool: { name: 'Bash', input: { command: 'sleep 1' } } };
  });
  const over = join(workspace, 'over');
  const command = `until [ -e '${over}' ]; do sleep 0.05; done`;
  const task = JSON.stringify({ command, run_in_background: true });
  t.equal((await child.run(`[[tool Bash ${task}]] [[say begun]]`)).result, 'begun');
  writeFileSync(over, '');
  await until('the report calls its tool', () => reports > 0);
  t.equal((await child.run('[[say its own]]')).result, 'its own');
  t.equal(unprompted.length, 1);
});

t.test('an interrupt drops a prompt that waits behind an unprompted turn', async (t) => {
  const { api, workspace, child } = await startNoting(t);
  leaveScheduledTask(workspace, 'WAKE [[hang stream]]');
  await child.run('[[say one]]');
  await api.waitForRequest((request) => promptText(request).startsWith('WAKE'), wakesWithin);
  const waiting = child.run('[[say never]]');
  waiting.catch(() => {});
  await child.interrupt();
  await t.rejects(waiting, { code: 'cli_unavailable', message: /the CLI dropped it/ });
  t.equal(child.idle, true);
  t.equal((await child.run('[[say next]]')).result, 'next');
});

t.test('a scheduled turn that is not wanted is interrupted, and counted', async (t) => {
  const { api, workspace, child, unprompted } = await startNoting(t, { deniesWakeUps: true });
  leaveScheduledTask(workspace, 'WAKE [[hang stream]]');
  await child.run('[[say one]]');
  await until('the turn is over', () => unprompted.length > 0, wakesWithin);
  t.match(unprompted, [{ isError: true, terminalReason: /^aborted/ }]);
  await until('its request is broken off', () =>
    api.requests.every(({ outcome }) => outcome !== 'pending'),
  );
  t.equal((await child.run('[[say two]]')).result, 'two');
});

t.test('a result that cannot be attributed ends the process, and is no answer', async (t) => {
  const strays: string[] = [];
  const child = startProcess(t, await makeSurroundings(t), {
    path: scripted('claude-that-names-no-prompt'),
    onStray: (what) => strays.push(what),
  });
  await t.rejects(child.run('one'), { code: 'worker_lost', result: { result: 'whose?' } });
  t.equal(child.idle, false);
  t.match(await child.ended, { signal: 'SIGKILL' });
  t.match(strays, [/clearly name its prompt/]);
});
