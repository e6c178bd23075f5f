import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t, { type Test } from 'tap';
import { EventStream } from '../../../supervisor/http/sse.ts';
import { startSupervisor, token } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

const mebibyte = 1024 * 1024;

/** A stream to a client who reads nothing until it is told to. */
async function streamToSlowReader(t: Test) {
  const server = createServer();
  t.teardown(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.pause();
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse];
  const cuts: number[] = [];
  const events = new EventStream(response, (backlog) => cuts.push(backlog));
  return { socket, response, events, cuts };
}

t.test(
  'the buffer for a client that does not read is limited, and then the stream is cut',
  async (t) => {
    const { events, response, cuts } = await streamToSlowReader(t);
    const text = 'x'.repeat(1024);
    let most = 0;
    for (let sent = 0; sent < 64 * mebibyte && cuts.length === 0; sent += text.length) {
      events.send('text', { text });
      most = Math.max(most, events.backlog);
      // What the kernel takes is not berth's memory.
      if (sent % mebibyte === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    t.equal(cuts.length, 1);
    t.ok(most <= 4 * mebibyte + 2 * text.length, `${most} bytes`);
    t.equal(response.destroyed, true);
    t.equal(events.backlog < mebibyte, true, 'and nothing is kept');
    events.send('text', { text });
    events.end();
    t.equal(cuts.length, 1);
  },
);

t.test('a slow reader that catches up gets all text in sequence, in fewer events', async (t) => {
  const { events, socket, cuts } = await streamToSlowReader(t);
  const pieces = Array.from({ length: 100_000 }, (_, index) => `${index} `);
  events.send('session', { session_id: 's' });
  for (const [index, text] of pieces.entries()) {
    events.send('text', { text });
    if (index === 50_000) events.send('tool', { id: 't' });
  }
  events.send('result', { ok: true });
  events.end();
  let received = '';
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString();
  });
  socket.resume();
  await until('the stream has ended', () => received.includes('event: result'));
  const read = [...received.matchAll(/event: (\w+)\r?\ndata: (.*)/g)];
  const names = read.map(([, name]) => name);
  t.same(
    names.filter((name) => name !== 'text'),
    ['session', 'tool', 'result'],
  );
  const texts = read.flatMap(([, name, data]) =>
    name === 'text' ? [JSON.parse(data ?? '').text as string] : [],
  );
  t.equal(texts.join(''), pieces.join(''));
  t.ok(texts.length < pieces.length / 2, `${texts.length} events`);
  const before = read.slice(0, names.indexOf('tool')).length;
  t.ok(before > 1 && before < names.length - 2, 'the tool stands where it was called');
  t.same(cuts, []);
});

t.test(
  'if a slow reader is cut off, its turn is interrupted, and the log names the cause',
  async (t) => {
    const { url, log, call } = await startSupervisor(t);
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    t.teardown(() => socket.destroy());
    socket.pause();
    const body = JSON.stringify({ prompt: '[[big 60000000]] [[slow 1]]' });
    socket.write(
      `POST /v1/prompts HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    const { backlog_bytes } = await log.logged('reader_cut');
    t.ok(Number(backlog_bytes) < 8 * mebibyte);
    t.match(await log.logged('turn_finished'), { code: 'interrupted', session_id: String });
    t.equal((await call('GET', '/v1/status')).status, 200);
  },
);
