import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Registry } from 'prom-client';
import t, { type Test } from 'tap';
import { openProbes } from '../../../init/sync/probes.ts';
import { pushHook } from '../../../init/sync/push-hook.ts';
import { until } from '../../support/until.ts';
import { captureLog } from '../fixture.ts';

const secret = 'a-secret-of-the-webhook';

async function open(t: Test, pushSecret: string | undefined = secret) {
  const outcomes: string[] = [];
  let pushes = 0;
  const hook = pushHook({
    config: () => ({ pushSecret, ref: undefined }),
    onPush: () => {
      pushes += 1;
    },
    onDelivery: (outcome) => outcomes.push(outcome),
  });
  let ready = false;
  const probes = await openProbes({
    listen: { host: '127.0.0.1', port: 0 },
    registry: new Registry(),
    ready: () => ready,
    routes: [hook],
    log: captureLog().log,
  });
  t.teardown(() => probes.stop());
  const url = `http://127.0.0.1:${probes.port}`;
  const post = (body: string, headers: Record<string, string> = {}) =>
    fetch(`${url}/hooks/push`, { method: 'POST', body, headers });
  const signed = (body: string) => {
    const signature = createHmac('sha256', secret).update(body).digest('hex');
    return post(body, { 'x-github-event': 'push', 'x-hub-signature-256': `sha256=${signature}` });
  };
  const setReady = () => {
    ready = true;
  };
  return { url, post, signed, outcomes, pushes: () => pushes, setReady };
}

t.test('the port answers probes and metrics, and is ready after the preparation', async (t) => {
  const { url, setReady } = await open(t);
  t.equal((await fetch(`${url}/livez`)).status, 200);
  t.equal((await fetch(`${url}/readyz`)).status, 503);
  setReady();
  t.equal((await fetch(`${url}/readyz`)).status, 200);
  t.equal((await fetch(`${url}/metrics`)).status, 200);
  t.equal((await fetch(`${url}/other`)).status, 404);
  t.equal((await fetch(`${url}/hooks/push`)).status, 405);
});

t.test('a signed push is accepted and wakes; a forged one is refused', async (t) => {
  const { post, signed, pushes, outcomes } = await open(t);
  const body = JSON.stringify({ ref: 'refs/heads/main' });
  t.equal((await signed(body)).status, 202);
  t.equal((await post(body, { 'x-github-event': 'push' })).status, 401);
  t.equal((await signed(body)).status, 202, 'an old delivery');
  t.equal(pushes(), 1);
  t.same(outcomes, ['push', 'forged', 'repeated']);
});

t.test('a body over the bound is refused unread', async (t) => {
  const { post, outcomes } = await open(t);
  const answer = await post('x'.repeat(1024 * 1024 + 1)).catch(() => undefined);
  t.ok(answer === undefined || answer.status === 413);
  t.same(outcomes, ['too_large']);
});

t.test(
  'too many genuine deliveries in a minute are refused; forged deliveries do not count',
  async (t) => {
    const { post, signed } = await open(t);
    for (let sent = 0; sent < 125; sent += 1) t.equal((await post('{}')).status, 401);
    const statuses: number[] = [];
    for (let sent = 0; sent < 122; sent += 1) {
      const body = JSON.stringify({ ref: 'refs/heads/main', after: sent });
      statuses.push((await signed(body)).status);
    }
    t.ok(statuses.slice(0, 100).every((status) => status === 202));
    t.ok(statuses.at(-1) === 429 || statuses.at(-1) === 202, 'a minute may have begun in between');
    t.ok(statuses.every((status) => status === 202 || status === 429));
  },
);

t.test('a body in chunks over the bound is answered', async (t) => {
  const { url, outcomes } = await open(t);
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(Buffer.alloc(1024 * 1024 + 1)),
  });
  const init = { method: 'POST', body, duplex: 'half' } as RequestInit;
  t.equal((await fetch(`${url}/hooks/push`, init)).status, 413);
  t.same(outcomes, ['too_large']);
});

/** Connections that send so much and no more. */
async function openSockets(t: Test, url: string, number: number, text: string): Promise<Socket[]> {
  const { hostname, port } = new URL(url);
  const sockets = Array.from({ length: number }, () => connect(Number(port), hostname));
  for (const socket of sockets) {
    t.teardown(() => socket.destroy());
    socket.on('error', () => undefined);
    socket.write(text);
  }
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  return sockets;
}

t.test('slow bodies keep out no delivery, and idle connections no probe', async (t) => {
  const { url, signed, outcomes } = await open(t);
  const head = 'POST /hooks/push HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx';
  await openSockets(t, url, 12, head);
  await until('the oldest are broken off', () => outcomes.length >= 4);
  t.equal((await signed(JSON.stringify({ ref: 'refs/heads/main' }))).status, 202);
  await openSockets(t, url, 80, '');
  t.equal((await fetch(`${url}/livez`)).status, 200);
});

t.test('without a secret there is no route', async (t) => {
  const hook = pushHook({
    config: () => ({ pushSecret: undefined, ref: undefined }),
    onPush: () => t.fail('woken'),
    onDelivery: () => t.fail('counted'),
  });
  const probes = await openProbes({
    listen: { host: '127.0.0.1', port: 0 },
    registry: new Registry(),
    ready: () => true,
    routes: [hook],
    log: captureLog().log,
  });
  t.teardown(() => probes.stop());
  const url = `http://127.0.0.1:${probes.port}/hooks/push`;
  t.equal((await fetch(url, { method: 'POST', body: '{}' })).status, 404);
});
