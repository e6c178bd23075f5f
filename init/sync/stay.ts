/**
 * The init that stays: it prepares the volume as the one-shot program does, and then keeps its
 * services running until it is stopped.
 * Invariants: `/readyz` is true after the first preparation and never false again, except while the
 * program stops. A service that cannot start ends the program before the volume is prepared. When
 * `stay` returns, no service is left.
 */
import { Registry } from 'prom-client';
import type { Log } from '../../shared/log.ts';
import { aborted } from '../../shared/waiting.ts';
import type { InitConfig } from '../config.ts';
import { openProbes } from './probes.ts';
import type { RunningService, Service, ServiceContext } from './service.ts';

export interface StayOptions {
  config: InitConfig;
  /** Reads the settings again. @throws BerthError `config_invalid` */
  readConfig: () => InitConfig;
  log: Log;
  /** Aborts when the program stops. */
  signal: AbortSignal;
  /** Prepares the volume for the first time. */
  prepare: () => Promise<unknown>;
  /** Services besides the probes. */
  services: readonly Service[];
}

/** Returns when `signal` aborts. @throws BerthError if the volume cannot be prepared */
export async function stay(options: StayOptions): Promise<void> {
  const { config, readConfig, log, signal, prepare, services } = options;
  const registry = new Registry();
  const context: ServiceContext = { config: readConfig, log, registry, signal };
  let ready = false;
  const running: RunningService[] = [];
  try {
    const probes = await openProbes({
      listen: config.syncListen,
      registry,
      ready: () => ready,
      log,
    });
    running.push(probes);
    for (const service of services) running.push(await service.start(context));
    await prepare();
    signal.throwIfAborted();
    ready = true;
    const { port } = probes;
    log.info('staying', 'the volume is ready; init stays and keeps it current', { port });
    await aborted(signal);
  } finally {
    ready = false;
    await Promise.allSettled(running.map((one) => one.stop()));
  }
}
