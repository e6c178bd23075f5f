/**
 * What runs inside the init that stays: the interface between the staying program (stay.ts) and the
 * services that it starts and stops.
 */
import type { Registry } from 'prom-client';
import type { Log } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';

export interface ServiceContext {
  /**
   * Reads the settings again: a token in a mounted Secret may have changed since the start. Call it
   * for each piece of work, and keep no token.
   * @throws BerthError `config_invalid`
   */
  config: () => InitConfig;
  log: Log;
  /** The metrics that `/metrics` of the staying program answers with. */
  registry: Registry;
  /** Aborts when the program stops: work under way must end at once. */
  signal: AbortSignal;
}

export interface RunningService {
  /** Closes the sockets of the service and ends its work; returns when nothing is left. */
  stop(): Promise<void>;
}

/** A part of the staying program, such as an HTTP server on a port of its own. */
export interface Service {
  /** For log lines. */
  name: string;
  /** Starts after the volume was prepared, when this pod has the lease. */
  needsVolume?: true;
  /**
   * Starts before the volume is prepared, without `needsVolume`. Returns when the service accepts requests.
   * @throws BerthError: the program ends with it
   */
  start(context: ServiceContext): Promise<RunningService>;
}
