import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { bashAllowed, makeSurroundings, scriptedClaude } from '../../support/claude.ts';
import { promptText } from '../../support/messages-api.ts';
import { processesOf, tailsOf } from '../../support/processes.ts';
import { collect, upTo } from '../../support/read-events.ts';
import { makeSupervisor, startSupervisor, token } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.jobs = 3;

t.test('a running turn is finished, and its stream ends with the result', async (t) => {
  const { stream, prompt, supervisor, surroundings, metricsUrl, log } = await startSupervisor(t, {
    settings: { BERTH_DRAIN: '1h' },
  });
  const events = stream('[[slow 300]] [[say finished after all]]');
  await upTo(events, 'session');
  const stopped = supervisor.stop();
  t.equal(supervisor.stop(), stopped, 'a second call waits for the first');

  const refused = await prompt('[[say too late]]');
  t.match(refused, {
    status: 503,
    body: { code: 'draining', retryable: true, detail: /stopping/ },
  });
  const ready = await fetch(`${metricsUrl}/readyz`);
  t.equal(ready.status, 503, 'it is not ready any more');
  t.equal((await fetch(`${metricsUrl}/livez`)).status, 200, 'but alive');

  const rest = await collect(events);
  t.match(rest.at(-1), { event: 'result', data: { result: 'finished after all' } });
  await stopped;
  t.same(processesOf(surroundings.config), []);
  t.notOk(existsSync(join(surroundings.config, '.berth', 'lease.json')), 'the lease is given back');
  await t.rejects(fetch(metricsUrl), 'nobody listens any more');
  t.match(
    log.lines.find(({ event }) => event === 'draining'),
    { prompts: 1 },
  );
});

t.test(
  'after the drain time a turn is interrupted, and its stream ends with the error',
  async (t) => {
    const { stream, supervisor, surroundings } = await startSupervisor(t, {
      config: { 'settings.json': bashAllowed },
      settings: { BERTH_DRAIN: '50ms' },
    });
    // One in the foreground, and two that have left the group and the session of the CLI.
    const command = 'tail -f /dev/null & setsid tail -f /dev/null & tail -f /dev/null';
    const events = stream(`[[tool Bash ${JSON.stringify({ command })}]]`);
    const collected = collect(events);
    await until('Bash runs', () => tailsOf(surroundings.config).length === 3);
    await supervisor.stop();
    t.same(processesOf(surroundings.config), [], 'no process is left');
    const all = await collected;
    t.match(all.at(-1), {
      event: 'error',
      data: { code: 'draining', status: 503, retryable: true, session_id: String },
    });
  },
);

t.test('a background process of a tool ends with the worker', async (t) => {
  const { prompt, supervisor, surroundings } = await startSupervisor(t, {
    config: { 'settings.json': bashAllowed },
  });
  const command = '(tail -f /dev/null &) ; true';
  const { status } = await prompt(`[[tool Bash ${JSON.stringify({ command })}]]`);
  t.equal(status, 200);
  await until('it outlives its turn', () => tailsOf(surroundings.config).length === 1);
  await supervisor.stop();
  t.same(processesOf(surroundings.config), []);
});

t.test('at a drain, prompts that wait for a worker are refused at once', async (t) => {
  const { stream, call, supervisor, surroundings } = await startSupervisor(t, {
    settings: { BERTH_DRAIN: '100ms', BERTH_MAX_WORKERS: '1' },
  });
  const running = collect(stream('[[hang stream]]'));
  await surroundings.api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  const waiting = collect(stream('[[say never]]'));
  const length = async () => (await call('GET', '/v1/status')).body.queue.length;
  await until('it waits', async () => (await length()) === 1);
  const stopped = supervisor.stop();
  const events = await waiting;
  t.match(events, [
    { event: 'queued', data: { position: 1 } },
    { event: 'error', data: { code: 'draining' } },
  ]);
  t.match((await running).at(-1), { event: 'error', data: { code: 'draining' } });
  await stopped;
});

t.test('the drain can be cut short', async (t) => {
  const { stream, supervisor, surroundings } = await startSupervisor(t, {
    settings: { BERTH_DRAIN: '1h' },
  });
  const running = collect(stream('[[hang stream]]'));
  await surroundings.api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  const now = new AbortController();
  const stopped = supervisor.stop(now.signal);
  now.abort();
  t.match((await running).at(-1), { event: 'error', data: { code: 'draining' } });
  await stopped;
});

t.test('a client that does not read or does not write cannot delay the shutdown', async (t) => {
  const { supervisor, surroundings, url } = await startSupervisor(t);
  const { port } = new URL(url);
  const deaf = connect(Number(port), '127.0.0.1');
  deaf.pause();
  const body = JSON.stringify({ prompt: '[[big 3000000]]' });
  deaf.write(
    `POST /v1/prompts HTTP/1.1\r\nhost: berth\r\nauthorization: Bearer ${token}\r\naccept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  const slow = connect(Number(port), '127.0.0.1');
  slow.write(
    `POST /v1/prompts HTTP/1.1\r\nhost: berth\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"prompt"`,
  );
  for (const socket of [deaf, slow]) {
    socket.on('error', () => {});
    t.teardown(() => socket.destroy());
  }
  await surroundings.api.waitForRequest(
    ({ outcome, path }) => outcome === 'answered' && /messages/.test(path),
  );
  const started = performance.now();
  await supervisor.stop();
  t.ok(performance.now() - started < 60_000, `${performance.now() - started} ms`);
});

t.test('a stop before the start is over leaves nothing', async (t) => {
  const one = await startSupervisor(t);
  const two = await makeSupervisor(t, { surroundings: one.surroundings });
  const leaving = new AbortController();
  const starting = two.supervisor.start(leaving.signal);
  starting.catch(() => {});
  await two.log.logged('lease_waiting');
  t.equal((await fetch(`${two.metricsUrl}/readyz`)).status, 503, 'it waits, and is not ready');
  leaving.abort();
  const interrupted = await starting.catch((error: unknown) => error);
  // The wait for the lease, or the look at the CLI's version beside it.
  const isSignal = interrupted === leaving.signal.reason;
  t.ok(isSignal || (interrupted as { code?: string }).code === 'lease_held', String(interrupted));
  await two.supervisor.stop();
  t.ok(
    existsSync(join(one.surroundings.config, '.berth', 'lease.json')),
    "the lease is the other one's",
  );
  t.match(await one.prompt('[[say still here]]'), { status: 200 });
});

t.test('a port that is taken ends the start, and nothing is left', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const settings = { BERTH_HTTP_LISTEN: `127.0.0.1:${port}` };
  const two = await makeSupervisor(t, { settings });
  await t.rejects(two.supervisor.start(new AbortController().signal), {
    code: 'config_invalid',
    message:
      /^cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE.*; choose another .* BERTH_HTTP_LISTEN$/,
  });
  await two.supervisor.stop();
  t.same(processesOf(two.surroundings.config), []);
  t.notOk(existsSync(join(two.surroundings.config, '.berth', 'lease.json')));
});

t.test('when another program takes the lease, the supervisor ends without a write', async (t) => {
  const { surroundings, fatal, prompt, supervisor } = await startSupervisor(t);
  const state = join(surroundings.config, '.berth');
  const read = (name: string) => readFileSync(join(state, name), 'utf8');
  const records = () =>
    readdirSync(join(state, 'sessions'))
      .filter((name) => name.endsWith('.json'))
      .map((name) => `sessions/${name}`);
  const written = () => [...records(), 'spending.json'].map(read);
  await prompt('[[say first]]');
  const slow = prompt('[[slow 5000]] [[say begun]]');
  await surroundings.api.waitForRequest((request) => /begun/.test(promptText(request) ?? ''));
  await until('its record is there', () => records().length === 2);
  // The figures of the first prompt are written a second after its answer.
  await until('its figures are there', () =>
    records().some((name) => JSON.parse(read(name)).turns === 1),
  );
  const lease = { version: 1, owner: 'another', holder: 'serve on another-pod', beat: 1 };
  const lock = join(surroundings.config, '.storage-write.lock');
  mkdirSync(lock);
  const leasePath = join(state, 'lease.json');
  await until('it is told', () => {
    // A heartbeat that has read the lease before this one appears puts it back. A program that takes
    // over waits until there are no heartbeats.
    if (!/another-pod/.test(readFileSync(leasePath, 'utf8'))) {
      writeFileSync(leasePath, JSON.stringify(lease));
    }
    return fatal.length > 0;
  });
  t.match(fatal, [{ code: 'lease_held', message: /another-pod took the lease over/ }]);
  const before = written();
  await until('no CLI runs', () => processesOf(surroundings.config).length === 0);
  await supervisor.stop(AbortSignal.abort());
  t.ok((await slow).status >= 500);
  t.same(written(), before);
  t.match(readFileSync(leasePath, 'utf8'), /another-pod/);
  t.ok(existsSync(lock), 'a CLI of the other one may hold it');
});

t.test(
  'prompts are taken a little after it is unready, and answers end their connection',
  async (t) => {
    const { prompt, stream, supervisor, metricsUrl, surroundings } = await startSupervisor(t, {
      settings: { BERTH_DRAIN_DELAY: '10m', BERTH_DRAIN: '1h' },
    });
    const before = await prompt('[[say before]]');
    t.not(before.headers.get('connection'), 'close');
    const slow = prompt('[[slow 60]] [[say begun before]]');
    await surroundings.api.waitForRequest((request) =>
      /begun before/.test(promptText(request) ?? ''),
    );
    const now = new AbortController();
    const stopped = supervisor.stop(now.signal);
    t.equal((await fetch(`${metricsUrl}/readyz`)).status, 503);
    const taken = await prompt('[[say still taken]]');
    t.match(taken, { status: 200, body: { result: 'still taken' } });
    t.equal(taken.headers.get('connection'), 'close');
    t.equal((await slow).headers.get('connection'), 'close', 'also of one that was taken before');
    t.match((await collect(stream('[[say streamed]]'))).at(-1), { event: 'result' });
    now.abort();
    await stopped;
  },
);

t.test('a prompt that waits for a worker is refused with 503 and Retry-After', async (t) => {
  const { prompt, call, supervisor, surroundings } = await startSupervisor(t, {
    settings: { BERTH_DRAIN: '100ms', BERTH_MAX_WORKERS: '1' },
  });
  const running = prompt('[[hang stream]]');
  await surroundings.api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  const waiting = prompt('[[say never]]');
  const length = async () => (await call('GET', '/v1/status')).body.queue.length;
  await until('it waits', async () => (await length()) === 1);
  const stopped = supervisor.stop();
  const refused = await waiting;
  t.match(refused, { status: 503, body: { code: 'draining', retryable: true, retry_after: 5 } });
  t.equal(refused.headers.get('retry-after'), '5');
  t.match(await running, {
    status: 503,
    body: { code: 'draining', retryable: true, session_id: /^[0-9a-f-]{36}$/ },
  });
  await stopped;
});

t.test('a prompt for which a process is starting is answered', async (t) => {
  const surroundings = await makeSurroundings(t);
  const [cli, go] = ['claude', 'go'].map((name) => join(surroundings.workspace, name));
  const wait = `until [ -e '${go}' ]; do sleep 0.05; done`;
  writeFileSync(
    `${cli}`,
    `#!/bin/sh\n[ "$1" = --version ] || ${wait}\nexec '${scriptedClaude}' "$@"\n`,
    { mode: 0o755 },
  );
  const { prompt, call, supervisor } = await startSupervisor(t, {
    surroundings,
    cli: `${cli}`,
    settings: { BERTH_DRAIN: '1h' },
  });
  const answered = prompt('[[say in time]]');
  await until('a process starts for it', async () => {
    const { body } = await call('GET', '/v1/status');
    return body.workers.some(({ state }: { state: string }) => state === 'starting');
  });
  const stopped = supervisor.stop();
  writeFileSync(`${go}`, '');
  t.match(await answered, { status: 200, body: { result: 'in time' } });
  await stopped;
});

t.test('a prompt that waits for the end of a limit is refused at once', async (t) => {
  const { prompt, stream, supervisor } = await startSupervisor(t, {
    settings: { BERTH_DRAIN: '1h' },
  });
  await prompt('[[status 429]]');
  const events = stream('[[say later]]', { on_limit: 'wait' });
  await upTo(events, 'limited');
  const stopped = supervisor.stop();
  t.match((await collect(events)).at(-1), { event: 'error', data: { code: 'draining' } });
  await stopped;
});
