/**
 * Within a process of its own, which a test kills: the init that stays, and a supervisor with which
 * no worker starts with the commit on the volume. Ends when the volume has gone back. Arguments: the
 * environment of init as JSON.
 */
import { Registry } from 'prom-client';
import { readInitConfig } from '../../init/config.ts';
import { createSyncMetrics } from '../../init/sync/metrics.ts';
import { Sync } from '../../init/sync/sync.ts';
import { acquireLease, type Peer } from '../../shared/lease.ts';
import { silent as log } from '../../shared/log.ts';

const environment = JSON.parse(process.argv[2] ?? '{}') as Record<string, string>;
const readConfig = () => readInitConfig(environment).config;
const signal = AbortSignal.timeout(30_000);
const sync = new Sync({ readConfig, metrics: createSyncMetrics(new Registry()), log });
const { commit } = await sync.prepare(signal);
void sync.run(signal);
const joined = Promise.withResolvers<Peer>();
await acquireLease({
  ...{ directory: readConfig().stateDirectory, program: 'serve', log, signal },
  sharing: { role: 'serve', accepts: () => true, onPeer: (peer) => joined.resolve(peer) },
});
const peer = await joined.promise;
peer.onMessage((message) => {
  const said = message as { kind: string; commit: string };
  if (said.kind === 'begin') peer.send({ kind: 'quiet', commit: said.commit });
  else if (said.commit !== commit) process.exit();
});
peer.send({ kind: 'verdict', commit, good: false, reason: 'a hook blocks' });
