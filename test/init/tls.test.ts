/** A git server with a certificate of a private CA. The fixtures are of 2026 and end in a century. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Harbour, openHarbour } from './fixture.ts';
import { runProgram } from './process.ts';

const fixtures = join(import.meta.dirname, '../support/fixtures/tls');
const file = (name: string) => readFileSync(join(fixtures, name));

/** The harbour's git server behind https, as a homelab's ingress has it. */
async function openTls(t: Test, harbour: Harbour): Promise<string> {
  const server = createServer({ key: file('server.key'), cert: file('server.pem') });
  server.on('request', (incoming, outgoing) => {
    const { method, headers, url } = incoming;
    const onward = request(`${harbour.server.url}${url}`, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(onward);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}/me/claude`;
}

t.test('a private CA is trusted when NODE_EXTRA_CA_CERTS names it', async (t) => {
  const harbour = await openHarbour(t);
  const url = await openTls(t, harbour);
  const environment = harbour.environment({
    BERTH_REPO: url,
    NODE_EXTRA_CA_CERTS: join(fixtures, 'ca.pem'),
  });
  const { code, lines } = await runProgram(environment);
  t.equal(code, 0, String(lines.at(-1)?.msg));
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
});

t.test('a certificate that nobody vouches for is an error with its remedy', async (t) => {
  const harbour = await openHarbour(t);
  const url = await openTls(t, harbour);
  const { code, lines } = await runProgram(harbour.environment({ BERTH_REPO: url }));
  t.equal(code, 69);
  t.match(lines.at(-1)?.msg, /its certificate is not trusted \(.+\); .*NODE_EXTRA_CA_CERTS/);
  t.strictSame(harbour.server.requests, [], 'the token did not leave');
  t.notOk(lines.some(({ event }) => event === 'remote_retry'));
});

t.test('https to a port that speaks plain http is an error with its remedy', async (t) => {
  const harbour = await openHarbour(t);
  const url = harbour.url.replace('http:', 'https:');
  const { code, lines } = await runProgram(harbour.environment({ BERTH_REPO: url }));
  t.equal(code, 69);
  t.match(lines.at(-1)?.msg, /cannot reach https:.*; /);
});
