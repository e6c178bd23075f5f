import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openHarbour, token, walk } from '../../../init/fixture.ts';
import { runProgram } from '../../../init/process.ts';
import { certificateAuthority, openTls } from '../../../support/tls.ts';

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

/** A proxy for https: it makes tunnels, and sees nothing of what goes through; with a login, if given. */
async function startTunnels(t: Test, login?: string) {
  const asked: string[] = [];
  let through = '';
  const server = createServer((_, response) => response.writeHead(400).end());
  server.on('connect', ({ url = '', headers }, socket) => {
    asked.push(url);
    const wanted = login && `Basic ${Buffer.from(login).toString('base64')}`;
    if (wanted && headers['proxy-authorization'] !== wanted) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n');
      return;
    }
    const { hostname, port } = new URL(`https://${url}`);
    const onward = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(onward).pipe(socket);
    });
    socket.on('data', (part: Buffer) => {
      through += part.toString('latin1');
    });
    const end = () => {
      socket.destroy();
      onward.destroy();
    };
    onward.on('error', end).on('close', end);
    socket.on('error', end).on('close', end);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as { port: number };
  return { at: `127.0.0.1:${port}`, asked, through: () => through };
}

t.test('https goes through a tunnel, and the proxy cannot read the content', async (t) => {
  const harbour = await openHarbour(t);
  const url = await openTls(t, harbour.server.url);
  const proxy = await startTunnels(t);
  const tls = { BERTH_REPO: url, NODE_EXTRA_CA_CERTS: certificateAuthority };
  const HTTPS_PROXY = `http://${proxy.at}`;
  const { code, output } = await runProgram(harbour.environment({ ...tls, HTTPS_PROXY }));
  t.equal(code, 0, output);
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
  t.strictSame([...new Set(proxy.asked)], [new URL(url).host]);
  t.ok(proxy.through().length > 500);
  t.notOk(proxy.through().includes(Buffer.from(`oauth2:${token}`).toString('base64')));
  const asked = proxy.asked.length;
  const NO_PROXY = 'example.org,127.0.0.1';
  const direct = await runProgram(harbour.environment({ ...tls, HTTPS_PROXY, NO_PROXY }));
  t.equal(direct.code, 0, direct.output);
  t.equal(proxy.asked.length, asked, 'NO_PROXY leaves the host alone');
  const untrusted = await runProgram(
    harbour.environment({ BERTH_REPO: url, HTTPS_PROXY, BERTH_ON_REMOTE_FAILURE: 'fail' }),
  );
  t.equal(untrusted.code, 69);
  t.match(untrusted.lines.at(-1)?.msg, /certificate is not trusted \(.+\); .*NODE_EXTRA_CA_CERTS/);
});

t.test('a proxy that wants a login gets it, and it is shown nowhere', async (t) => {
  const harbour = await openHarbour(t);
  const url = await openTls(t, harbour.server.url);
  const proxy = await startTunnels(t, 'me:canary-proxy-password');
  const run = (HTTPS_PROXY: string) =>
    runProgram(
      harbour.environment({
        BERTH_REPO: url,
        NODE_EXTRA_CA_CERTS: certificateAuthority,
        BERTH_LOG_LEVEL: 'debug',
        HTTPS_PROXY,
      }),
    );
  const refused = await run(`http://me:canary-proxy-wrong@${proxy.at}`);
  t.not(refused.code, 0);
  t.match(refused.lines.at(-1)?.msg, /proxy.*; .*(HTTPS_PROXY|proxy variables)/);
  const admitted = await run(`http://me:canary-proxy-password@${proxy.at}`);
  t.equal(admitted.code, 0, admitted.output);
  t.notMatch(refused.output + admitted.output, /canary-proxy/);
  t.notOk(walk(harbour.volume).some((path) => harbour.read(path)?.includes('canary-proxy')));
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

t.test('an unreachable proxy is the error remote_unavailable', async (t) => {
  const harbour = await openHarbour(t);
  const { code, lines } = await runProgram({
    ...harbour.environment(),
    BERTH_CREDENTIALS_SOURCE: join(harbour.directory, 'none'),
    HTTP_PROXY: 'http://127.0.0.1:1',
  });
  t.equal(code, 69);
  t.match(lines.at(-1), { event: 'failed', code: 'remote_unavailable' });
});
