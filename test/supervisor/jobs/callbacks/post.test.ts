import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { resolveHost } from '../../../../supervisor/jobs/callbacks/allowed-addresses.ts';
import { AllowedHosts } from '../../../../supervisor/jobs/callbacks/allowed-hosts.ts';
import { parseCallbackUrl } from '../../../../supervisor/jobs/callbacks/callback-url.ts';
import { type PostOptions, post } from '../../../../supervisor/jobs/callbacks/post.ts';
import { openTls } from '../../../support/tls.ts';
import { openReceiver, status } from '../../../support/webhook-receiver.ts';

const loopback = AllowedHosts.parse('n8n.test,127.0.0.0/8');
const atLoopback = async () => [{ address: '127.0.0.1', family: 4 }];

function send(url: string, options: Partial<PostOptions> = {}) {
  const { signal } = new AbortController();
  const settings = { hosts: loopback, environment: {}, signal, resolve: atLoopback, ...options };
  return post(parseCallbackUrl(url), { 'webhook-id': 'job_1_2' }, '{"ä":1}', settings);
}

/** A proxy that counts what it is asked. */
async function openProxy(t: Test) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers['proxy-authorization']}`);
    response.writeHead(204).end();
  });
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    asked.push(`CONNECT ${request.url}`);
    const port = Number(request.url?.split(':')[1]);
    const onward = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    for (const each of [onward, socket]) each.on('error', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return { asked, host: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

t.test('the request is sent as it is: target, host, length and signature', async (t) => {
  const receiver = await openReceiver(t, status(200, {}, 'thanks'));
  const target = '/a/../%2e/%zz//?s=\'|^`{}"<>&a=%20+\\';
  const answer = await send(`http://N8N.test:${receiver.port}${target}#part`);
  t.same(answer, { status: 200, retryAfter: undefined, text: 'thanks' });
  const [received] = receiver.received;
  t.equal(received?.target, target);
  t.equal(received?.body, '{"ä":1}');
  t.match(received?.headers, {
    host: `n8n.test:${receiver.port}`,
    'content-type': 'application/json',
    'content-length': '8',
    'user-agent': /^berth\//,
    'webhook-id': 'job_1_2',
  });
});

t.test('a redirect is an answer, and is not followed', async (t) => {
  const receiver = await openReceiver(t);
  receiver.replies = [status(307, { location: `${receiver.url}/other`, 'retry-after': '7' })];
  t.match(await send(`${receiver.url}/a`), { status: 307, retryAfter: '7' });
  t.equal(receiver.received.length, 1);
});

t.test('of a huge or endless body only the start is read', async (t) => {
  const receiver = await openReceiver(
    t,
    (response) => response.writeHead(409).end('x'.repeat(5_000_000)),
    (response) => void response.writeHead(409).write('running already'),
  );
  const huge = await send(receiver.url);
  t.equal(huge.status, 409);
  t.equal(huge.text.length, 4_096);
  t.match(await send(receiver.url), { status: 409 }, 'a body that does not end');
});

t.test('a receiver that resets, upgrades or does not answer fails with the cause', async (t) => {
  const receiver = await openReceiver(
    t,
    (response) => response.socket?.resetAndDestroy(),
    (response) => response.socket?.end('nonsense\r\n\r\n'),
    (response) => response.socket?.end(),
    (response) =>
      response.socket?.write('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n'),
    () => {},
  );
  const url = `${receiver.url}/hidden`;
  await t.rejects(send(url), { message: /ECONNRESET|hang up/ });
  await t.rejects(send(url), { message: /Parse Error/ });
  await t.rejects(send(url), { message: /hang up/ });
  t.match(await send(url), { status: 101 });
  await t.rejects(send(url, { deadline: 100 }), { message: 'no answer within 0.1 s' });
  const stopping = new AbortController();
  const stopped = send(url, { signal: stopping.signal });
  stopping.abort(new Error('stopped'));
  await t.rejects(stopped, { message: 'stopped' });
  const free = await openReceiver(t);
  await t.rejects(send(`http://127.0.0.1:1/hidden`), { message: /^(?!.*hidden).*ECONNREFUSED/ });
  t.equal(free.received.length, 0);
});

t.test('a name is connected only at the address that was checked', async (t) => {
  const receiver = await openReceiver(t);
  const named = AllowedHosts.parse('n8n.test');
  const url = `http://n8n.test:${receiver.port}/hidden`;
  for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1', '169.254.169.254', '0.0.0.0']) {
    const resolve = async () => [{ address, family: address.includes(':') ? 6 : 4 }];
    await t.rejects(send(url, { hosts: named, resolve }), {
      message: /is at .*BERTH_CALLBACK_HOSTS/,
    });
  }
  await t.rejects(send(receiver.url, { hosts: named }), { message: /no ordinary address/ });
  let lookups = 0;
  const rebinding = async () => {
    lookups += 1;
    return [{ address: lookups === 1 ? '127.0.0.1' : '169.254.169.254', family: 4 }];
  };
  t.match(await send(url, { resolve: rebinding }), { status: 204 });
  t.equal(lookups, 1, 'the name is resolved once');
  t.equal(receiver.received.length, 1);
  t.ok((await resolveHost('localhost')).length > 0);
});

t.test('https needs a trusted certificate of that name', async (t) => {
  const receiver = await openReceiver(t);
  const url = await openTls(t, receiver.url);
  await t.rejects(send(url), { message: /certificate/ });
  t.equal(receiver.received.length, 0);
});

t.test('through a proxy the name is sent, and the address is left to the proxy', async (t) => {
  const proxy = await openProxy(t);
  const receiver = await openReceiver(t);
  const resolve = async () => {
    throw new Error('the name was resolved');
  };
  const environment = {
    HTTPS_PROXY: `http://${proxy.host}`,
    HTTP_PROXY: `http://me:pw@${proxy.host}`,
  };
  const secure = new URL(await openTls(t, receiver.url));
  const url = `https://n8n.test:${secure.port}/hidden`;
  await t.rejects(send(url, { environment, resolve }), { message: /certificate/ });
  t.match(await send('http://n8n.test/a/../b', { environment, resolve }), { status: 204 });
  t.same(proxy.asked, [
    `CONNECT n8n.test:${secure.port}`,
    'POST http://n8n.test/a/../b Basic bWU6cHc=',
  ]);
  const direct = { ...environment, NO_PROXY: '.test' };
  t.match(await send(`http://n8n.test:${receiver.port}/`, { environment: direct }), {
    status: 204,
  });
  t.equal(receiver.received.length, 1);
});
