/**
 * The init that stays: it prepares the volume as the one-shot program does, and then keeps the
 * volume equal to the repository and its services running until it is stopped.
 * Invariants: `/readyz` is true after the first preparation, and false again only while the program
 * stops. A service that cannot start ends the program before the volume is prepared. A service that
 * uses the volume starts when this pod has the lease. When `stay`
 * returns, no service is left and the lease is released.
 */
import { Registry } from 'prom-client';
import type { Log } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';
import { createSyncMetrics } from './metrics.ts';
import { openProbes } from './probes.ts';
import { pushHook } from './push-hook.ts';
import type { RunningService, Service, ServiceContext } from './service.ts';
import { Sync } from './sync.ts';

export interface StayOptions {
  config: InitConfig;
  /** Reads the settings again. @throws BerthError `config_invalid` */
  readConfig: () => InitConfig;
  log: Log;
  /** Aborts when the program stops. */
  signal: AbortSignal;
  /** The deadline of the first preparation, which ends the program. */
  deadline: () => { signal: AbortSignal; clear: () => void };
  /** Services besides the probes. */
  services: readonly Service[];
}

/** Returns when `signal` aborts. @throws BerthError if the volume cannot be prepared, or is lost */
export async function stay(options: StayOptions): Promise<void> {
  const { config, readConfig, log, signal, services } = options;
  const registry = new Registry();
  const metrics = createSyncMetrics(registry);
  const context: ServiceContext = { config: readConfig, log, registry, signal };
  const sync = new Sync({ readConfig, metrics, log });
  let ready = false;
  const running: RunningService[] = [sync];
  const hook = pushHook({
    config: readConfig,
    onPush: () => sync.wake(),
    onDelivery: (result) => metrics.delivered(result),
  });
  try {
    const isReady = () => ready;
    const { syncListen: listen } = config;
    const probes = await openProbes({ listen, registry, ready: isReady, routes: [hook], log });
    running.push(probes);
    const start = async (needsVolume: boolean) => {
      const wanted = services.filter((one) => (one.needsVolume ?? false) === needsVolume);
      for (const service of wanted) running.push(await service.start(context));
    };
    await start(false);
    const deadline = options.deadline();
    await sync.prepare(deadline.signal);
    deadline.clear();
    await start(true);
    ready = true;
    const { port } = probes;
    log.info('staying', 'the volume is ready; init stays and keeps it current', { port });
    await sync.run(signal);
  } finally {
    ready = false;
    await Promise.allSettled(running.map((one) => one.stop()));
  }
}
