/** The supervisor's bundle where few files may be open (`ulimit -n`), and callers take what there is. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { scripted } from '../support/claude.ts';
import { testDirectory } from '../support/directory.ts';
import { startProgram } from '../support/programs.ts';

const token = 'a-token-of-the-tests';

async function serve(t: Test, nofile: number) {
  const root = testDirectory(t, { volume: {}, home: {}, tokens: `n8n:${token}\n` });
  const program = startProgram('serve', {
    arguments: ['serve'],
    within: ['sh', '-c', `ulimit -n ${nofile}; exec "$0" "$@"`],
    environment: {
      HOME: join(root, 'home'),
      BERTH_CONFIG_DIR: join(root, 'volume'),
      BERTH_WORKSPACE_DIR: join(root, 'workspace'),
      BERTH_API_TOKENS_FILE: join(root, 'tokens'),
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      BERTH_DRAIN_DELAY: '0s',
      BERTH_MAX_WORKERS: '8',
      BERTH_WARM_WORKERS: '0',
      BERTH_CLAUDE_PATH: scripted('claude-that-answers'),
      ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
    },
  });
  t.teardown(() => program.kill('SIGKILL'));
  const { address, metrics_address } = await program.logged('listening');
  const prompt = async (rest = {}) => {
    const response = await fetch(`${address}/v1/prompts`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'hi', ...rest }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  return { program, prompt, address: String(address), metrics: String(metrics_address) };
}

/** So many connections that say nothing. */
async function hold(t: Test, address: string, count: number): Promise<void> {
  const { port, hostname } = new URL(address);
  const opened = Array.from({ length: count }, () => {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    t.teardown(() => socket.destroy());
    return once(socket, 'connect').catch(() => undefined);
  });
  await Promise.all(opened);
}

test('a thousand connections without a token do not block prompts and probes', async (t) => {
  const { program, prompt, address, metrics } = await serve(t, 1_024);
  await hold(t, address, 1_000);
  await hold(t, metrics, 1_000);
  const answers = await Promise.all(Array.from({ length: 8 }, () => prompt()));
  t.strictSame(
    answers.map(({ status }) => status),
    Array(8).fill(200),
  );
  t.equal((await fetch(`${metrics}/livez`)).status, 200);
  program.kill('SIGTERM');
  t.equal(await program.ended, 0);
});

test('a worker for which there are no descriptors is a typed error, and the server goes on', async (t) => {
  const { program, prompt } = await serve(t, 42);
  t.match(await program.logged('descriptors_few'), { descriptors: 42, connections: 16 });
  const answers = [];
  // One after the other, on one connection; each leaves a process of its own.
  for (let count = 0; count < 8; count++) answers.push(await prompt());
  const [first, last] = [answers[0], answers.at(-1)];
  t.equal(first?.status, 200);
  t.match(last, { status: 503, body: { code: 'cli_unavailable', detail: /EMFILE/ } });
  t.match(await prompt({ session_id: first?.body.session_id }), { status: 200 });
  program.kill('SIGTERM');
  t.equal(await program.ended, 0);
});
