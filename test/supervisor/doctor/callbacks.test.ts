import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import t from 'tap';
import { checkCallbacks } from '../../../supervisor/doctor/callbacks.ts';
import { AllowedHosts } from '../../../supervisor/jobs/callbacks/allowed-hosts.ts';

const never = new AbortController().signal;

t.test('each named host is connected to, and one without a server is a failure', async (t) => {
  const server = createServer((socket) => socket.end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  t.teardown(() => server.close());
  const hosts = AllowedHosts.parse(`localhost:${port},localhost:1,*.example.com,10.0.0.0/8`);
  t.match(await checkCallbacks(hosts, {}, never), [
    { status: 'ok', subject: `localhost:${port}` },
    { status: 'failed', subject: 'localhost:1', detail: /REFUSED/, remedy: /egress policy/ },
  ]);
});

t.test('without a host to connect to, nothing is checked', async (t) => {
  const none = await checkCallbacks(AllowedHosts.parse(''), {}, never);
  t.match(none, [{ status: 'n/a', detail: /callback_url is refused/ }]);
  const wide = await checkCallbacks(AllowedHosts.parse('*.example.com'), {}, never);
  t.match(wide, [{ status: 'n/a', detail: /no entry that names a single host/ }]);
});
