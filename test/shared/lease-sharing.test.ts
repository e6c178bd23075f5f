import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { acquireLease, type Peer } from '../../shared/lease.ts';
import type { LeaseRole } from '../../shared/lease-link.ts';
import { captureLog } from '../init/fixture.ts';
import { testDirectory } from '../support/directory.ts';
import { startHolder } from '../support/shared-holder.ts';
import { until } from '../support/until.ts';

const times = { heartbeat: 40, expiry: 10_000 };

interface OpenOptions {
  accepts: () => boolean;
  signal: AbortSignal;
  /** Milliseconds. */
  expiry: number;
}

function volume(t: Test) {
  const directory = testDirectory(t);
  const { log, lines } = captureLog();
  const open = async (role: LeaseRole, options: Partial<OpenOptions> = {}) => {
    const peers: Peer[] = [];
    const { accepts = () => true, signal = AbortSignal.timeout(60_000), expiry } = options;
    const sharing = { role, accepts, onPeer: (peer: Peer) => void peers.push(peer) };
    const lease = await acquireLease({
      ...{ directory, program: role, log, signal, sharing },
      ...times,
      ...(expiry === undefined ? {} : { expiry }),
    });
    t.teardown(() => lease.release());
    return { lease, peers };
  };
  const holder = () => JSON.parse(readFileSync(join(directory, 'lease.json'), 'utf8'));
  return { directory, log, lines, open, holder };
}

t.test('the two programs of a pod hold the lease together, and exchange messages', async (t) => {
  const { open } = volume(t);
  const sync = await open('sync');
  const serve = await open('serve');
  await sync.lease.assertHeld();
  await serve.lease.assertHeld();
  const [toServe] = sync.peers;
  const [toSync] = serve.peers;
  const heard: unknown[] = [];
  toServe?.send({ kind: 'begin' });
  toSync?.onMessage((message) => heard.push(message));
  await until('the message arrives', () => heard.length > 0);
  t.same(heard, [{ kind: 'begin' }]);
});

t.test('a program joins only when the other one accepts', async (t) => {
  const { open } = volume(t);
  let accepts = false;
  let asked = 0;
  await open('sync', {
    accepts: () => {
      asked += 1;
      return accepts;
    },
  });
  let joined = false;
  const serve = open('serve').then((it) => {
    joined = true;
    return it;
  });
  await until('it was refused and asks again', () => asked > 2);
  t.notOk(joined);
  accepts = true;
  await (await serve).lease.assertHeld();
});

t.test(
  'a second program of the same role and a program that does not share are kept out',
  async (t) => {
    const { directory, log, lines, open } = volume(t);
    const serve = await open('serve');
    const sync = await open('sync');
    const waits = () => lines.filter(({ event }) => event === 'lease_waiting').length;
    /** The program has found the lease held, and was not let in, before it stops. */
    const isKeptOut = async (acquire: (signal: AbortSignal) => Promise<unknown>) => {
      const before = waits();
      const stop = new AbortController();
      const held = { code: 'lease_held', message: /serve on .* holds it/ };
      const refused = t.rejects(acquire(stop.signal), held);
      await until('it waits', () => waits() > before);
      stop.abort();
      await refused;
    };
    await isKeptOut((signal) => open('sync', { signal }));
    await isKeptOut((signal) => open('serve', { signal }));
    const program = 'init';
    await isKeptOut((signal) => acquireLease({ directory, program, log, signal, ...times }));
    await serve.lease.assertHeld();
    await sync.lease.assertHeld();
  },
);

t.test('a program that ends hands the lease over, and the other one keeps it', async (t) => {
  const { open, holder } = volume(t);
  const sync = await open('sync');
  const serve = await open('serve');
  await sync.lease.release();
  await serve.lease.assertHeld();
  t.match(holder(), { role: 'serve' });
  t.notOk(serve.lease.lost.aborted);
  const again = await open('sync');
  await again.lease.assertHeld();
  await serve.lease.release();
  await again.lease.assertHeld();
  t.match(holder(), { role: 'sync' });
});

t.test('when either program is killed the other one goes on', async (t) => {
  const { directory, open, holder } = volume(t);
  const first = await startHolder(t, directory, 'sync', times.expiry);
  const serve = await open('serve');
  first.kill();
  await until('the guest keeps the lease', () => holder().role === 'serve');
  await serve.lease.assertHeld();
  const guest = await startHolder(t, directory, 'sync', times.expiry);
  guest.kill();
  await guest.ended;
  await serve.lease.assertHeld();
  const next = await startHolder(t, directory, 'sync', times.expiry);
  t.equal(next.role, 'sync', 'a successor joins');
});

t.test('a guest loses the lease to another pod that took it from a dead keeper', async (t) => {
  const { directory, open, holder } = volume(t);
  const expiry = 1_200;
  const keeper = await startHolder(t, directory, 'sync', expiry);
  const serve = await open('serve', { expiry });
  keeper.suspend();
  const { log } = captureLog();
  const signal = AbortSignal.timeout(60_000);
  // A program without the pod's identity: as on another node.
  const other = await acquireLease({ directory, program: 'other', log, signal, ...times, expiry });
  t.teardown(() => other.release());
  t.match(holder(), { holder: /^other/ });
  await until('it notices', () => serve.lease.lost.aborted);
  await t.rejects(serve.lease.assertHeld(), { code: 'lease_held' });
});
