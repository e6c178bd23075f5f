import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openHarbour } from './fixture.ts';
import { runProgram } from './process.ts';

/** A proxy that forwards every plain request to one server, whatever host was asked for. */
async function startProxy(t: Test, target: string) {
  const asked: string[] = [];
  const server = createServer((incoming, response) => {
    const url = new URL(incoming.url ?? '');
    asked.push(url.host);
    const { method, headers } = incoming;
    const outgoing = request(target + url.pathname + url.search, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    incoming.pipe(outgoing);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, asked };
}

t.test('the proxy variables are followed', async (t) => {
  const harbour = await openHarbour(t);
  const proxy = await startProxy(t, harbour.server.url);
  const { code } = await runProgram({
    ...harbour.environment({ BERTH_REPO: 'http://git.example.invalid/me/claude' }),
    HTTP_PROXY: proxy.url,
  });
  t.equal(code, 0);
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
  t.strictSame([...new Set(proxy.asked)], ['git.example.invalid']);
});

t.test('NO_PROXY leaves a host alone', async (t) => {
  const harbour = await openHarbour(t);
  const proxy = await startProxy(t, harbour.server.url);
  const { code } = await runProgram({
    ...harbour.environment(),
    HTTP_PROXY: proxy.url,
    NO_PROXY: '127.0.0.1',
  });
  t.equal(code, 0);
  t.strictSame(proxy.asked, []);
});

t.test('a proxy that is not there is told as such', async (t) => {
  const harbour = await openHarbour(t);
  const { code, lines } = await runProgram({
    ...harbour.environment({ BERTH_TIMEOUT: '10s' }),
    BERTH_CREDENTIALS_SOURCE: join(harbour.directory, 'none'),
    HTTP_PROXY: 'http://127.0.0.1:1',
  });
  t.equal(code, 69);
  t.match(lines.at(-1), { event: 'failed', code: 'remote_unavailable' });
});
