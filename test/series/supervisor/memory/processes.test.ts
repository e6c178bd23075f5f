/** What happens when a container has all the processes that its pids limit allows: really, in a cgroup. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startBerthIn } from '../../../soak/berth-in-cgroup.ts';
import { realClaude, scriptedClaude } from '../../../support/claude.ts';
import { testDirectory } from '../../../support/directory.ts';
import { processesOf } from '../../../support/processes.ts';
import { sendPrompt } from '../../../support/prompt.ts';
import { until } from '../../../support/until.ts';

const memory = 4 * 2 ** 30;

t.test('a fork bomb in a tool costs its worker, and the turn goes on without it', async (t) => {
  const directory = testDirectory(t);
  // The worker with the bomb and the next one are real; the self-test and what comes after are not.
  const after = join(directory, 'after');
  const path = join(directory, 'claude-that-is-mostly-real');
  const script = `#!/bin/sh
case "$CLAUDE_CONFIG_DIR" in */berth-self-test-*) exec '${scriptedClaude}' "$@"; esac
[ ! -e '${after}' ] || exec '${scriptedClaude}' "$@"
exec '${realClaude}' "$@"
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  const { program, cgroup, target, stop } = await startBerthIn(directory, {
    limit: memory,
    mcpServers: 0,
    tasks: 300,
    settings: { BERTH_CLAUDE_PATH: path, BERTH_WARM_WORKERS: '0' },
  });
  t.teardown(stop);
  // Each starts two, eleven times: 4,095, if nobody did anything about it.
  const bomb = 'b() { [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & }; sleep 600; }; b 11';
  const tool = `[[tool Bash ${JSON.stringify({ command: bomb })}]] [[say carried on]]`;
  const reply = await sendPrompt(target, { prompt: tool });
  // At the limit the CLI cannot make threads: it may abort before berth has looked.
  const recycled = { recycled: 1, recycle_reason: /^(processes|crashed)$/ };
  t.match(reply, { status: 200, body: recycled });
  if (reply.body.recycle_reason === 'processes') {
    const decision = program.lines.find(({ event }) => event === 'memory_limit');
    t.match(decision, {
      action: 'end',
      cause: 'processes',
      tasks_limit: 300,
      msg: /has \d+ processes, and the container \d+ of the 300 tasks that its pids limit allows/,
    });
  }
  await until('nothing of it is left', () =>
    processesOf(directory).every(({ command }) => !command.startsWith('sleep')),
  );
  await until('its tasks are free again', () => cgroup.tasks() < 200);
  writeFileSync(after, '');
  const next = await sendPrompt(target, { prompt: '[[say alive]]' });
  t.match(next, { status: 200, body: { result: 'alive', recycled: 0 } });
});

t.test(
  'a process that the pids limit forbids is an error that names it, until it is raised',
  async (t) => {
    const { program, cgroup, target, stop } = await startBerthIn(testDirectory(t), {
      limit: memory,
      mcpServers: 0,
      tasks: 2_000,
      settings: { BERTH_CLAUDE_PATH: scriptedClaude, BERTH_WARM_WORKERS: '0' },
    });
    t.teardown(stop);
    t.match(await sendPrompt(target, { prompt: '[[say one]]' }), { status: 200 });
    // A CLI that cannot be tested at the start would end the supervisor.
    await program.logged('cli_tested');
    // Those that are there stay.
    cgroup.allowTasks(1);
    const refused = await sendPrompt(target, { prompt: '[[say two]]' });
    t.match(refused, { status: 503, body: { code: 'cli_unavailable', retryable: true } });
    t.match(refused.body.detail, /not start another process \(EAGAIN\); raise its pids limit/);
    t.match(refused.body.detail, /has \d+ of the \d+ tasks that its pids limit allows/);
    cgroup.allowTasks(2_000);
    const answered = () => sendPrompt(target, { prompt: '[[say three]]' });
    await until('it can start one', async () => (await answered()).status === 200, 180_000);
  },
);

t.test('a pids limit that is reached when the CLI is to be tested ends nothing', async (t) => {
  const directory = testDirectory(t);
  const gate = join(directory, 'gate');
  const fifo = join(directory, 'fifo');
  const waits = join(directory, 'waits');
  const path = join(directory, 'claude-that-waits');
  execFileSync('mkfifo', [fifo]);
  // Without a process of its own: by then it could start none.
  const script = `#!/bin/sh
[ "$1" = --version ] || [ -e '${gate}' ] || { : > '${waits}'; read line < '${fifo}'; }
exec '${scriptedClaude}' "$@"
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  const { program, cgroup, target, stop } = await startBerthIn(directory, {
    limit: memory,
    mcpServers: 0,
    tasks: 2_000,
    settings: { BERTH_CLAUDE_PATH: path },
  });
  t.teardown(stop);
  // Without a reader, the write would block this process for ever.
  await until('the first worker waits', () => existsSync(waits));
  cgroup.allowTasks(1);
  writeFileSync(gate, '');
  writeFileSync(fifo, '\n');
  // The process for the test cannot be started, or its own threads cannot.
  t.match(await program.logged('cli_tested'), {
    level: 'warn',
    retry_ms: 500,
    msg: /retrying: .*(not start another process \(EAGAIN\)|for lack of memory or processes); raise .*pids limit/,
  });
  cgroup.allowTasks(2_000);
  const passed = () => program.lines.some(({ event, by }) => event === 'cli_tested' && by);
  await until('it has passed the test', passed, 180_000);
  const answered = () => sendPrompt(target, { prompt: '[[say three]]' });
  await until('it answers', async () => (await answered()).status === 200, 180_000);
});
