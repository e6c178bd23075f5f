/** How the supervisor's bundle ends as a process: asked to, killed, or unable to start. */
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { makeToken, tokenLine } from '../../../supervisor/http/tokens.ts';
import { scriptedClaude } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';
import { hammer } from '../../support/hammer.ts';
import { startMessagesApi } from '../../support/messages-api.ts';
import { processesOf } from '../../support/processes.ts';
import { startProgram } from '../../support/programs.ts';
import { streamPrompt } from '../../support/prompt.ts';
import type { StreamEvent } from '../../support/read-events.ts';
import { until } from '../../support/until.ts';

async function prepare(t: Test, settings: Record<string, string | undefined> = {}) {
  const token = makeToken();
  const root = testDirectory(t, {
    volume: {},
    home: {},
    tokens: `${tokenLine('n8n', token)}\n`,
    'termination-log': '',
    'old-claude': '#!/bin/sh\necho "2.1.197 (Claude Code)"\n',
  });
  const api = await startMessagesApi();
  const volume = join(root, 'volume');
  const serve = () => {
    const program = startProgram('serve', {
      arguments: ['serve'],
      environment: {
        HOME: join(root, 'home'),
        BERTH_CONFIG_DIR: volume,
        BERTH_WORKSPACE_DIR: join(root, 'workspace'),
        BERTH_API_TOKENS_FILE: join(root, 'tokens'),
        BERTH_HTTP_LISTEN: '127.0.0.1:0',
        BERTH_DRAIN_DELAY: '0s',
        BERTH_METRICS_LISTEN: '127.0.0.1:0',
        BERTH_CLAUDE_PATH: scriptedClaude,
        BERTH_TERMINATION_LOG: join(root, 'termination-log'),
        ANTHROPIC_BASE_URL: api.url,
        ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
        ...settings,
      },
    });
    t.teardown(() => program.kill('SIGKILL'));
    return program;
  };
  t.teardown(() => api.close());
  return { root, volume, token, api, serve };
}

test('a turn that outlasts the drain is interrupted, and its stream ends with the reason', async (t) => {
  const { volume, token, serve } = await prepare(t, { BERTH_DRAIN: '200ms' });
  const program = serve();
  const { address } = await program.logged('listening');
  const events: StreamEvent[] = [];
  const stream = streamPrompt({ url: String(address), token }, { prompt: '[[hang stream]]' });
  const streaming = Array.fromAsync(stream, (event) => events.push(event));
  await until('text arrives', () => events.some(({ event }) => event === 'text'));
  program.kill('SIGTERM');
  await streaming;
  t.match(events.at(-1), {
    event: 'error',
    data: { code: 'draining', retryable: true, session_id: /./ },
  });
  t.equal(await program.ended, 0);
  t.strictSame(processesOf(volume), []);
});

test('a second SIGTERM ends the drain at once, and the stream with its reason', async (t) => {
  const { volume, token, serve } = await prepare(t, {
    BERTH_DRAIN: '1h',
    BERTH_DRAIN_DELAY: '10m',
  });
  const program = serve();
  const { address } = await program.logged('listening');
  const events: StreamEvent[] = [];
  const stream = streamPrompt({ url: String(address), token }, { prompt: '[[hang stream]]' });
  const streaming = Array.fromAsync(stream, (event) => events.push(event));
  await until('text arrives', () => events.some(({ event }) => event === 'text'));
  program.kill('SIGTERM');
  await program.logged('draining');
  program.kill('SIGTERM');
  await streaming;
  t.match(events.at(-1), { event: 'error', data: { code: 'draining', retryable: true } });
  t.equal(await program.ended, 0);
  t.strictSame(processesOf(volume), []);
});

test('callers that hammer it through the stop are answered or refused, never cut off', async (t) => {
  // Time enough for both kinds of caller to be refused, on a slow machine too.
  const { token, serve } = await prepare(t, { BERTH_DRAIN_DELAY: '1s' });
  const program = serve();
  const { address } = await program.logged('listening');
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ prompt: '[[say hi]]' });
  const callers = [
    hammer({ url: `${address}/v1/prompts`, method: 'POST', headers, body, fresh: 3, kept: 3 }),
    hammer({ url: `${address}/v1/status`, method: 'GET', headers, fresh: 1, kept: 1 }),
  ];
  const [prompts, looks] = callers.map(({ outcomes }) => outcomes);
  await until('prompts are answered', () => (prompts?.get('200') ?? 0) > 2);
  program.kill('SIGTERM');
  t.equal(await program.ended, 0);
  // Each caller ends when it is refused.
  for (const caller of callers) await caller.ended;
  // Refused is who connects when the program has gone: each caller once, for it ends then.
  for (const [outcomes, count] of [
    [prompts, 6],
    [looks, 2],
  ] as const) {
    t.strictSame([...(outcomes?.keys() ?? [])].sort(), ['200', '503 draining', 'ECONNREFUSED']);
    t.equal(outcomes?.get('ECONNREFUSED'), count);
  }
});

test('supervisors on one volume, one after the other', async (t) => {
  const { volume, token, serve } = await prepare(t);
  const first = serve();
  await first.logged('worker_ready');
  t.ok(processesOf(volume).length > 0, 'a CLI runs');
  first.kill('SIGKILL');
  t.equal(await first.ended, 'SIGKILL');
  // If these fail, no test below can wait for a volume that nobody holds.
  await until('the CLI of the killed supervisor has ended', () => processesOf(volume).length === 0);
  const second = serve();
  await second.logged('listening');
  t.pass('a killed supervisor leaves no CLI, and the next one takes the volume over');

  await t.test(
    'SIGTERM while it starts ends it at once: it waits for the volume no longer',
    async (t) => {
      const waiting = serve();
      await waiting.logged('lease_waiting');
      waiting.kill('SIGTERM');
      t.equal(await waiting.ended, 0);
      t.equal(waiting.lines.at(-1)?.event, 'stopped');
      t.notOk(waiting.lines.some(({ event }) => event === 'failed'));
      t.notOk(
        second.lines.some(({ event }) => event === 'draining' || event === 'failed'),
        'whoever holds it has not noticed',
      );
    },
  );

  await t.test(
    'SIGTERM lets a running turn finish, ends its stream, and leaves no process',
    async (t) => {
      const { address } = await second.logged('listening');
      const events: StreamEvent[] = [];
      const stream = streamPrompt(
        { url: String(address), token },
        { prompt: '[[slow 150]] [[say finished all the same]]' },
      );
      const streaming = Array.fromAsync(stream, (event) => events.push(event));
      await until('text arrives', () => events.some(({ event }) => event === 'text'));
      second.kill('SIGTERM');
      await streaming;
      t.match(events.at(-1), { event: 'result', data: { result: 'finished all the same' } });
      t.equal(await second.ended, 0);
      t.strictSame(processesOf(volume), []);
    },
  );
});

test('SIGTERM right after the start leaves nothing, wherever it strikes', async (t) => {
  const { volume, serve } = await prepare(t);
  for (const event of ['tokens_loaded', 'sessions_loaded', 'listening']) {
    const program = serve();
    await program.logged(event);
    program.kill('SIGTERM');
    t.equal(await program.ended, 0, event);
    t.strictSame(processesOf(volume), []);
  }
});

test('without a CLI the supervisor exits with 69, and the log names the install command', async (t) => {
  const { root, serve } = await prepare(t, { BERTH_CLAUDE_PATH: '/nowhere/claude' });
  t.equal(await serve().ended, 69);
  t.match(
    readFileSync(join(root, 'termination-log'), 'utf8'),
    /cannot run the Claude Code CLI at \/nowhere\/claude: .*npm install/,
  );
});

test('a CLI of an unsupported version ends it with 69 and names the version it needs', async (t) => {
  const old = join(t.testdirName, 'old-claude');
  const { serve } = await prepare(t, { BERTH_CLAUDE_PATH: old });
  chmodSync(old, 0o755);
  const program = serve();
  t.equal(await program.ended, 69);
  t.match(program.output, /2\.1\.197.*, but 2\.1\.\d+ or later is required/);
});

test('with wrong settings the supervisor exits with 64 and lists all of the wrong settings', async (t) => {
  const { serve } = await prepare(t, {
    BERTH_MAX_WORKERS: 'many',
    BERTH_DRAIN: '5 minutes',
    BERTH_WARM_WORKER: '2',
  });
  const program = serve();
  t.equal(await program.ended, 64);
  for (const expected of [
    /BERTH_MAX_WORKERS: "many"/,
    /BERTH_DRAIN: "5 minutes"/,
    /BERTH_WARM_WORKERS\?/,
  ]) {
    t.match(program.lines.at(-1)?.msg, expected);
  }
});
