import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { httpLimits, limitsWithin } from '../../../supervisor/http/limits.ts';
import { startApiServer, token } from '../../support/api-server.ts';
import { until } from '../../support/until.ts';

t.jobs = 4;

const quick = { headTimeout: 200, requestTimeout: 400, lookEvery: 25 };

function open(t: Test, port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  return socket;
}

/** Also where what was written last met a closed door. */
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.once('close', () => resolve()));

const head = (more: string, token_ = token): string =>
  `POST /v1/prompts HTTP/1.1\r\nhost: berth\r\nauthorization: Bearer ${token_}\r\ncontent-type: application/json\r\n${more}\r\n`;

const body = JSON.stringify({ prompt: 'hi' });
const whole = `${head(`content-length: ${body.length}\r\n`)}${body}`;

t.test('the default limits are safe for a server that anyone can reach', async (t) => {
  t.ok(httpLimits.headTimeout <= 15_000 && httpLimits.requestTimeout <= 60_000);
  t.ok(httpLimits.head <= 16 * 1024 && httpLimits.connections <= 2_000);
  t.ok(httpLimits.keepAlive > 60_000, 'a proxy lets go first');
});

t.test('a connection that sends nothing is closed', async (t) => {
  const { port } = await startApiServer(t, { limits: quick });
  t.match(await text(open(t, port)), /^HTTP\/1\.1 408 .*"code":"request_timeout"/s);
});

t.test('a head that trickles is cut off, though something always comes', async (t) => {
  const { port } = await startApiServer(t, { limits: quick });
  const socket = open(t, port);
  socket.write('POST /v1/prompts HTTP/1.1\r\nhost: berth\r\n');
  const trickle = setInterval(() => socket.write('x-slow: 1\r\n'), 20);
  t.teardown(() => clearInterval(trickle));
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk;
  });
  await closed(socket);
  t.match(answer, /^HTTP\/1\.1 408 /);
});

t.test('a body that trickles is cut off, and the prompt is never run', async (t) => {
  let ran = 0;
  const { port } = await startApiServer(t, {
    limits: quick,
    run: async () => {
      ran += 1;
      throw new Error('not here');
    },
  });
  const socket = open(t, port);
  socket.write(`${head('content-length: 100000\r\n')}{"prompt":"`);
  const trickle = setInterval(() => socket.write('x'), 20);
  t.teardown(() => clearInterval(trickle));
  socket.resume();
  await closed(socket);
  t.equal(ran, 0);
});

t.test('an answer may take longer than a request', async (t) => {
  const began = Promise.withResolvers<void>();
  const { promise, resolve } = Promise.withResolvers<void>();
  const { port } = await startApiServer(t, {
    limits: { headTimeout: 3_000, requestTimeout: 3_000, lookEvery: 25 },
    run: async () => {
      began.resolve();
      await promise;
      throw new Error('late');
    },
  });
  const socket = open(t, port);
  let answered = '';
  socket.on('data', (chunk) => {
    answered += chunk;
  });
  socket.write(whole);
  await began.promise;
  // Another connection that is cut off shows that the time is up.
  await text(open(t, port));
  t.equal(answered, '');
  t.notOk(socket.destroyed);
  resolve();
  await until('it is answered', () => answered.includes('"code":"internal"'));
});

for (const [what, request] of [
  ['a long address', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nhost: berth\r\n\r\n`],
  ['a long header', `GET /docs HTTP/1.1\r\nhost: berth\r\nx-long: ${'x'.repeat(20_000)}\r\n\r\n`],
  ['many headers', `GET /docs HTTP/1.1\r\nhost: berth\r\n${'x-many: 1\r\n'.repeat(3_000)}\r\n`],
]) {
  t.test(`${what} is refused before all of the request is read`, async (t) => {
    const { port } = await startApiServer(t);
    const socket = open(t, port);
    socket.write(request ?? '');
    t.match(await text(socket), /^HTTP\/1\.1 431 .*"code":"headers_too_large"/s);
  });
}

t.test('a body whose declared size is too large is refused before the body is sent', async (t) => {
  const { port } = await startApiServer(t, { maxPromptBytes: 2048 });
  const socket = open(t, port);
  socket.write(head('content-length: 3000\r\n'));
  const [answer] = await once(socket, 'data');
  t.match(String(answer), /^HTTP\/1\.1 413 .*larger than 2Ki; .*BERTH_MAX_PROMPT_BYTES/s);
});

t.test('a body without a declared size is refused as soon as the body is too large', async (t) => {
  const { port } = await startApiServer(t, { maxPromptBytes: 2048 });
  const socket = open(t, port);
  socket.write(head('transfer-encoding: chunked\r\n'));
  socket.write(`fff\r\n${'x'.repeat(0xfff)}\r\n`);
  const [answer] = await once(socket, 'data');
  t.match(String(answer), /^HTTP\/1\.1 413 /);
});

t.test('a request without a valid token is answered before the body is sent', async (t) => {
  const { port } = await startApiServer(t);
  const socket = open(t, port);
  socket.write(head('content-length: 100000\r\n', 'nobodys-token'));
  const [answer] = await once(socket, 'data');
  t.match(String(answer), /^HTTP\/1\.1 401 /);
});

t.test('connections above the bound are closed, and a place that is free is used', async (t) => {
  const { port, url } = await startApiServer(t, { limits: { connections: 3 } });
  const idle = [open(t, port), open(t, port), open(t, port)];
  await Promise.all(idle.map((socket) => once(socket, 'connect')));
  const one = open(t, port);
  await closed(one);
  t.pass('the fourth is closed');
  idle[0]?.destroy();
  await until('there is a place', () =>
    fetch(`${url}/docs`).then(
      ({ status }) => status === 200,
      () => false,
    ),
  );
});

t.test(
  'file descriptors for workers are reserved, even if the limit of descriptors is low',
  async (t) => {
    t.same(limitsWithin(Number.POSITIVE_INFINITY, 64), httpLimits);
    t.match(limitsWithin(1_024, 4), { connections: 864, untrusted: 64, crowd: 432 });
    t.match(limitsWithin(64, 4), { connections: 16, untrusted: 8, crowd: 8 });
  },
);

t.test('of connections without a token the oldest goes, none with one', async (t) => {
  const { port } = await startApiServer(t, { limits: { untrusted: 2, crowd: 2 } });
  const known = open(t, port);
  known.write(whole);
  await once(known, 'data');
  const [first, second] = [open(t, port), open(t, port)];
  await Promise.all([once(first, 'connect'), once(second, 'connect')]);
  const third = open(t, port);
  await closed(first);
  third.write(whole);
  t.match(String((await once(third, 'data'))[0]), /^HTTP\/1\.1 200 /);
  t.notOk(known.destroyed || second.destroyed);
});

t.test(
  '300 clients that connect at once are all answered, each on its own connection',
  async (t) => {
    const { port } = await startApiServer(t);
    const request = `GET /v1/no-such-path HTTP/1.1\r\nhost: berth\r\nauthorization: Bearer ${token}\r\nconnection: close\r\n\r\n`;
    const answers = Array.from({ length: 300 }, async () => {
      const socket = open(t, port);
      socket.write(request);
      return (await text(socket)).slice(0, 12);
    });
    t.strictSame(new Set(await Promise.all(answers)), new Set(['HTTP/1.1 404']));
  },
);

t.test('connections without a token that stay are closed after the grace', async (t) => {
  const { port } = await startApiServer(t, { limits: { untrusted: 2, crowd: 8, grace: 50 } });
  const known = open(t, port);
  known.write(whole);
  await once(known, 'data');
  const sockets = Array.from({ length: 6 }, () => open(t, port));
  let gone = 0;
  for (const socket of sockets) socket.once('close', () => gone++);
  await until('four are closed', () => gone === 4);
  t.equal(known.destroyed, false);
});

t.test('a request without a valid token closes its connection', async (t) => {
  const { port } = await startApiServer(t);
  const socket = open(t, port);
  socket.write(`GET /v1/status HTTP/1.1\r\nhost: berth\r\n\r\n`);
  t.match(await text(socket), /^HTTP\/1\.1 401 .*connection: close/is);
});

t.test('if all connections are in use, idle connections are closed', async (t) => {
  const { port, url } = await startApiServer(t, { limits: { connections: 3 } });
  const idle = [open(t, port), open(t, port), open(t, port)];
  for (const socket of idle) socket.write(whole);
  await Promise.all(idle.map((socket) => once(socket, 'data')));
  await until('a newcomer is answered', () =>
    fetch(`${url}/docs`).then(
      ({ status }) => status === 200,
      () => false,
    ),
  );
});

t.test('many requests on one connection are all answered in sequence', async (t) => {
  const { port } = await startApiServer(t);
  const socket = open(t, port);
  const request = 'GET /docs HTTP/1.1\r\nhost: berth\r\n\r\n';
  socket.write(request.repeat(199) + request.replace('host', 'connection: close\r\nhost'));
  const answers = await text(socket);
  t.equal(answers.match(/HTTP\/1\.1 200 OK/g)?.length, 200);
});

t.test('data after a streaming request cannot write into the stream', async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  t.teardown(() => resolve());
  const { port } = await startApiServer(t, {
    run: async (_prompt, caller, tell) => {
      tell({ event: 'text', data: { text: 'first' } });
      caller.addEventListener('abort', () => resolve());
      await promise;
      throw caller.reason;
    },
  });
  const socket = open(t, port);
  let got = '';
  socket.on('data', (chunk) => {
    got += chunk;
  });
  socket.write(`${head(`accept: text/event-stream\r\ncontent-length: ${body.length}\r\n`)}${body}`);
  await until('the stream has begun', () => got.includes('event: text'));
  socket.write('no HTTP at all\r\n\r\n');
  await closed(socket);
  t.notMatch(got, 'HTTP/1.1 400');
});
