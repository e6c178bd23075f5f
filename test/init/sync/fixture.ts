/**
 * The program that keeps a volume current, within this process, and the supervisor's part of the
 * link to it.
 */
import { join } from 'node:path';
import { Registry } from 'prom-client';
import type { Test } from 'tap';
import { createSyncMetrics } from '../../../init/sync/metrics.ts';
import { Sync } from '../../../init/sync/sync.ts';
import { acquireLease, type Lease, type Peer } from '../../../shared/lease.ts';
import type { Harbour } from '../fixture.ts';

export interface Message {
  kind: string;
  commit: string;
}

/** The supervisor's part: quiet at once; `heard` has what init has said. */
export async function joinAs(
  harbour: Harbour,
  onPeer: (peer: Peer) => void = () => undefined,
): Promise<{ lease: Lease; peer: Peer; heard: Message[] }> {
  const heard: Message[] = [];
  const joined = Promise.withResolvers<Peer>();
  const listen = (peer: Peer): void => {
    peer.onMessage((message) => {
      const said = message as Message;
      heard.push(said);
      if (said.kind === 'begin') peer.send({ kind: 'quiet', commit: said.commit });
    });
    joined.resolve(peer);
    onPeer(peer);
  };
  const lease = await acquireLease({
    directory: join(harbour.volume, '.berth'),
    program: 'serve',
    log: harbour.log,
    signal: AbortSignal.timeout(60_000),
    sharing: { role: 'serve', accepts: () => true, onPeer: listen },
  });
  return { lease, peer: await joined.promise, heard };
}

/** Prepares the volume, and keeps it current until the test ends. */
export async function startSync(t: Test, harbour: Harbour, overrides: Record<string, string> = {}) {
  const stop = new AbortController();
  const registry = new Registry();
  const sync = new Sync({
    readConfig: () => harbour.config({ BERTH_SYNC_INTERVAL: '1h', ...overrides }),
    metrics: createSyncMetrics(registry),
    log: harbour.log,
  });
  await sync.prepare(stop.signal);
  const running = sync.run(stop.signal);
  const end = async () => {
    stop.abort();
    await running.catch(() => undefined);
    await sync.stop();
  };
  t.teardown(end);
  return { sync, registry, end };
}
