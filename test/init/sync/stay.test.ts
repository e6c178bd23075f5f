import { createHmac } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { proposalsService } from '../../../init/proposals/service.ts';
import type { Service } from '../../../init/sync/service.ts';
import { stay } from '../../../init/sync/stay.ts';
import { until } from '../../support/until.ts';
import { type Harbour, openHarbour } from '../fixture.ts';

const secret = 'a-secret-of-the-webhook';

interface Running {
  signal: AbortController;
  ended: Promise<void>;
  /** The address of the port, once the volume is ready. */
  url(): Promise<string>;
  post(body: string, signature?: string): Promise<Response>;
}

function start(
  t: Test,
  harbour: Harbour,
  services: readonly Service[] = [],
  deadline = new AbortController().signal,
): Running {
  const signal = new AbortController();
  const readConfig = () =>
    harbour.config({
      BERTH_SYNC_INTERVAL: '1h',
      BERTH_SYNC_LISTEN: '127.0.0.1:0',
      BERTH_PUSH_SECRET: secret,
    });
  const ended = stay({
    ...{ config: readConfig(), readConfig, log: harbour.log, services, signal: signal.signal },
    deadline: () => ({ signal: deadline, clear: () => {} }),
  });
  ended.catch(() => undefined);
  t.teardown(async () => {
    signal.abort();
    await ended.catch(() => undefined);
  });
  const url = async () => {
    const line = await until('init stays', () => harbour.events('staying')[0]);
    return `http://127.0.0.1:${line.port}`;
  };
  const sign = (body: string) => createHmac('sha256', secret).update(body).digest('hex');
  const post = async (body: string, signature = sign(body)) =>
    fetch(`${await url()}/hooks/push`, {
      method: 'POST',
      body,
      headers: { 'x-github-event': 'push', 'x-hub-signature-256': `sha256=${signature}` },
    });
  return { signal, ended, url, post };
}

/** A service that keeps a list of what happens to it. */
function recording(happened: string[], failure?: Error): Service {
  return {
    name: 'recording',
    start: async ({ config }) => {
      if (failure) throw failure;
      happened.push(`start ${config().ref ?? 'default branch'}`);
      return { stop: async () => void happened.push('stop') };
    },
  };
}

const leaseFile = (harbour: Harbour) => join(harbour.volume, '.berth/lease.json');

t.test(
  'init stays until it is stopped, and a reported push is on the volume at once',
  async (t) => {
    const harbour = await openHarbour(t);
    const happened: string[] = [];
    const { signal, ended, url, post } = start(t, harbour, [recording(happened)]);
    t.equal((await fetch(`${await url()}/readyz`)).status, 200);
    t.equal(harbour.read('CLAUDE.md'), '# one\n');
    t.ok(existsSync(leaseFile(harbour)));
    const commit = harbour.repository.commit({ 'CLAUDE.md': '# two\n' });
    const body = JSON.stringify({ ref: 'refs/heads/main', after: commit });
    t.equal((await post(body, '0'.repeat(64))).status, 401);
    t.equal(harbour.read('CLAUDE.md'), '# one\n');
    t.equal((await post(body)).status, 202);
    await until('the push is there', () => harbour.read('CLAUDE.md') === '# two\n');
    const metrics = await (await fetch(`${await url()}/metrics`)).text();
    t.match(metrics, 'berth_sync_deliveries_total{result="push"} 1');
    t.match(metrics, 'berth_sync_deliveries_total{result="forged"} 1');
    t.match(metrics, /process_resident_memory_bytes \d{7,}/);
    signal.abort();
    await ended;
    await t.rejects(fetch(`${await url()}/livez`), 'the port is closed');
    t.same(happened, ['start default branch', 'stop']);
    t.notOk(existsSync(leaseFile(harbour)), 'the lease is released');
  },
);

t.test('a service that cannot start ends the program before the volume changes', async (t) => {
  const harbour = await openHarbour(t);
  const happened: string[] = [];
  const broken = recording(happened, new Error('cannot listen'));
  const { ended } = start(t, harbour, [recording(happened), broken]);
  await t.rejects(ended, /cannot listen/);
  t.same(happened, ['start default branch', 'stop']);
  t.same(harbour.tree(), {});
});

t.test('a first preparation that fails ends the program and its services', async (t) => {
  const harbour = await openHarbour(t);
  harbour.server.fault({ kind: 'status', status: 403 });
  const happened: string[] = [];
  const { ended } = start(t, harbour, [recording(happened)]);
  await t.rejects(ended, { code: 'remote_refused' });
  t.same(happened, ['start default branch', 'stop']);
  t.same(harbour.events('staying'), []);
  t.notOk(existsSync(leaseFile(harbour)));
});

t.test('a service that uses the volume starts when the lease is held', async (t) => {
  const harbour = await openHarbour(t);
  const happened: string[] = [];
  const uses: Service = {
    ...recording([]),
    needsVolume: true,
    start: async () => {
      happened.push(existsSync(leaseFile(harbour)) ? 'has the lease' : 'has no lease');
      happened.push(harbour.read('CLAUDE.md') ?? '');
      return { stop: async () => void happened.push('stop') };
    },
  };
  const { signal, ended, url } = start(t, harbour, [uses, recording(happened)]);
  await url();
  t.same(happened, ['start default branch', 'has the lease', '# one\n']);
  signal.abort();
  await ended;
  t.equal(proposalsService(1_000).needsVolume, true);
});

t.test('the deadline of the first preparation ends the program', async (t) => {
  const harbour = await openHarbour(t);
  const deadline = AbortSignal.abort(new Error('late'));
  const { ended } = start(t, harbour, [], deadline);
  await t.rejects(ended);
  t.same(harbour.tree(), {});
});
