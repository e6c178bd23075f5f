/**
 * The two programs of a pod in this process, on one volume: the init that stays, with a real git
 * server, and a supervisor. Everything ends with the test.
 */
import { Registry } from 'prom-client';
import type { Test } from 'tap';
import { createSyncMetrics } from '../../init/sync/metrics.ts';
import { Sync } from '../../init/sync/sync.ts';
import { type Harbour, openHarbour } from '../init/fixture.ts';
import { surroundingsIn } from './claude.ts';
import { startMessagesApi } from './messages-api.ts';
import { type RunningSupervisor, type SupervisorOptions, startSupervisor } from './supervisor.ts';

export interface SyncedPod {
  harbour: Harbour;
  running: RunningSupervisor;
  sync: Sync;
  /** Commits to the repository, and reports the push. @returns the commit */
  push(files: Record<string, string | null>): string;
}

export async function startSyncedPod(
  t: Test,
  files: Record<string, string>,
  options: SupervisorOptions = {},
): Promise<SyncedPod> {
  const harbour = await openHarbour(t, files);
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  const surroundings = surroundingsIn(harbour.directory, api);
  const stop = new AbortController();
  const settings = { BERTH_CONFIG_DIR: surroundings.config, BERTH_SYNC_INTERVAL: '1h' };
  const sync = new Sync({
    readConfig: () => harbour.config(settings),
    metrics: createSyncMetrics(new Registry()),
    log: harbour.log,
  });
  await sync.prepare(stop.signal);
  const ended = sync.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await ended.catch(() => undefined);
    await sync.stop();
  });
  const running = await startSupervisor(t, { surroundings, ...options });
  return {
    harbour,
    running,
    sync,
    push: (changed) => {
      const commit = harbour.repository.commit(changed);
      sync.wake();
      return commit;
    },
  };
}
