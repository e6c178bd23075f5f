/** Two instances behind a proxy that honours readiness: nobody sees one being replaced. */
import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { scriptedClaude } from '../support/claude.ts';
import { testDirectory } from '../support/directory.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { processesOf } from '../support/processes.ts';
import { type Program, startProgram } from '../support/programs.ts';
import { until } from '../support/until.ts';

interface Instance {
  program: Program;
  address: URL;
  metrics: string;
}

interface Backend {
  instance: Instance | undefined;
  ready: boolean;
  /** The instance whose answer the proxy waits for. */
  looking?: Instance | undefined;
}

/** Looks at /readyz every 100 ms at most, gives the ready ones a request in turn, and retries nothing. */
async function startProxy(t: Test, backends: readonly Backend[]) {
  const agent = new Agent({ keepAlive: true });
  const look = setInterval(() => {
    for (const backend of backends) {
      const { instance } = backend;
      if (!instance || backend.looking === instance) continue;
      backend.looking = instance;
      const isReady = fetch(`${instance.metrics}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
      void isReady.then((ready) => {
        if (backend.looking === instance) backend.looking = undefined;
        if (backend.instance === instance) backend.ready = ready;
      });
    }
  }, 100);
  let turn = 0;
  const broken: string[] = [];
  const proxy = createServer((incoming, outgoing) => {
    const ready = backends.filter((backend) => backend.ready && backend.instance);
    const address = ready[turn++ % ready.length]?.instance?.address;
    if (!address) return void outgoing.writeHead(502).end();
    const { method, url: path, headers } = incoming;
    const { hostname, port } = address;
    const forwarded = request({ hostname, port, method, path, headers, agent }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, { 'content-type': 'application/json' });
      answer.pipe(outgoing);
      answer.once('error', (error) => outgoing.destroy(error));
    });
    forwarded.once('error', (error) => {
      broken.push(error.message);
      outgoing.writeHead(502).end();
    });
    incoming.pipe(forwarded);
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.teardown(() => {
    clearInterval(look);
    agent.destroy();
    proxy.closeAllConnections();
    proxy.close();
  });
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, broken };
}

/** Time enough for the proxy of a slow machine to see that an instance is not ready any more. */
const longDelay = '5s';

test('no prompt fails while two instances are restarted one after the other', async (t) => {
  const token = makeToken();
  const root = testDirectory(t, { a: {}, b: {}, home: {}, tokens: `${tokenLine('n8n', token)}\n` });
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  const start = async (volume: string, drainDelay: string): Promise<Instance> => {
    const program = startProgram('serve', {
      arguments: ['serve'],
      environment: {
        HOME: join(root, 'home'),
        BERTH_CONFIG_DIR: join(root, volume),
        BERTH_WORKSPACE_DIR: join(root, `workspace-${volume}`),
        BERTH_API_TOKENS_FILE: join(root, 'tokens'),
        BERTH_HTTP_LISTEN: '127.0.0.1:0',
        BERTH_METRICS_LISTEN: '127.0.0.1:0',
        BERTH_CLAUDE_PATH: scriptedClaude,
        BERTH_DRAIN_DELAY: drainDelay,
        BERTH_MAX_WORKERS: '2',
        ANTHROPIC_BASE_URL: api.url,
        ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
      },
    });
    t.teardown(() => program.kill('SIGKILL'));
    const { address, metrics_address } = await program.logged('listening');
    return { program, address: new URL(String(address)), metrics: String(metrics_address) };
  };
  const backends: Backend[] = [
    { instance: await start('a', longDelay), ready: false },
    { instance: await start('b', longDelay), ready: false },
  ];
  const proxy = await startProxy(t, backends);
  await until('both are ready', () => backends.every(({ ready }) => ready));

  const outcomes: string[] = [];
  const loading = new AbortController();
  /** One after the other. Each takes most of a second: a prompt runs at any time, and few processes are started. */
  const caller = async (): Promise<void> => {
    while (!loading.signal.aborted) {
      const response = await fetch(`${proxy.url}/v1/prompts`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: '[[slow 100]] [[say all is well]]' }),
      }).catch((error: unknown) => error as Error);
      if (response instanceof Error) outcomes.push(String(response.cause ?? response));
      else {
        const { result, code } = (await response.json().catch(() => ({}))) as Record<
          string,
          string
        >;
        outcomes.push(
          response.ok && result === 'all is well' ? 'ok' : `${response.status} ${code}`,
        );
      }
    }
  };
  const callers = [caller(), caller()];

  for (const [index, volume] of ['a', 'b'].entries()) {
    const backend = backends[index] as Backend;
    const before = outcomes.length;
    await until('prompts are answered', () => outcomes.length > before + 2);
    backend.instance?.program.kill('SIGTERM');
    t.equal(await backend.instance?.program.ended, 0);
    t.strictSame(processesOf(join(root, volume)), []);
    // It ends after the load.
    backend.instance = await start(volume, '0s');
    await until(`${volume} is ready again`, () => backend.ready);
  }
  const before = outcomes.length;
  await until('prompts are answered', () => outcomes.length > before + 2);
  loading.abort();
  await Promise.all(callers);
  t.strictSame(
    outcomes.filter((outcome) => outcome !== 'ok'),
    [],
    `of ${outcomes.length} prompts none failed`,
  );
  t.strictSame(proxy.broken, [], 'no connection was reset');
  t.ok(outcomes.length > 10, `${outcomes.length} prompts`);
  for (const { instance } of backends) {
    instance?.program.kill('SIGTERM');
    t.equal(await instance?.program.ended, 0);
  }
});
