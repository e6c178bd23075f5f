import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { until } from '../../support/until.ts';
import { openScene } from './fixture.ts';

t.test('a request that has its answer does not stay in memory until the deadline', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const scene = await openScene(t);
  const requests: WeakRef<IncomingMessage>[] = [];
  const started = (message: unknown) => {
    const { request } = message as { request: IncomingMessage };
    if (request.headers.host === new URL(scene.gateway.url).host) {
      requests.push(new WeakRef(request));
    }
  };
  subscribe('http.server.request.start', started);
  t.teardown(() => unsubscribe('http.server.request.start', started));
  for (let count = 0; count < 20; count++) {
    const path = count % 2 ? '/other/app' : '/me/app';
    const { status } = await scene.send(`${path}/info/refs?service=git-upload-pack`);
    t.equal(status, count % 2 ? 403 : 200);
  }
  t.equal(requests.length, 20);
  // A connection that is kept alive has its last request.
  await until('the requests are collected', () => {
    collect();
    return requests.filter((each) => each.deref() !== undefined).length <= 4;
  });
});
