/** https in front of a plain server, with the certificate of a private CA, as a homelab's ingress has it. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';

/** The fixtures are of 2026 and end in a century. */
const fixtures = join(import.meta.dirname, 'fixtures/tls');
const file = (name: string) => readFileSync(join(fixtures, name));

/** The CA's certificate. */
export const certificateAuthority = join(fixtures, 'ca.pem');

/**
 * Serves what `target` serves, for the time of the test.
 * @returns the URL of the repository `me/claude`
 */
export async function openTls(t: Test, target: string): Promise<string> {
  const server = createServer({ key: file('server.key'), cert: file('server.pem') });
  server.on('request', (incoming, outgoing) => {
    const { method, headers, url } = incoming;
    const onward = request(`${target}${url}`, { method, headers }, (answer) => {
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
