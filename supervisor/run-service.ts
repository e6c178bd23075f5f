/**
 * Runs a long-lived command (`berth serve`, `berth write-back`) from its settings to its exit code.
 * Invariants: the log has the start, the stop and each failure. A failure is also in the
 * termination message of the container.
 */
import { asBerthError } from '../shared/errors.ts';
import { createLog, type Log } from '../shared/log.ts';
import { leaveTerminationMessage, readReporting } from '../shared/reporting.ts';
import { version } from '../shared/version.ts';

export interface ServiceOptions<Config> {
  /** The command as people write it, such as `berth write-back`. */
  command: string;
  /** `service` of each log line. */
  service: string;
  /** Milliseconds within which log lines are written together; absent: each line immediately. */
  together?: number;
  environment: NodeJS.ProcessEnv;
  /** Ends this process with a code, when the process can no longer be trusted. */
  exit: (code: number) => void;
  /** Reads the settings. @throws BerthError `config_invalid` */
  read: (environment: NodeJS.ProcessEnv) => { config: Config; warnings: readonly string[] };
  /** Logs warnings about valid settings. */
  review?: (config: Config, log: Log) => void;
  /** Returns after a clean stop. @throws any error: it ends the process with its exit code */
  run: (config: Config, log: Log) => Promise<void>;
}

/** @returns the exit code; its error is already logged */
export async function runService<Config>(options: ServiceOptions<Config>): Promise<number> {
  const { command, service, together, environment, exit, read, review, run } = options;
  const reporting = readReporting(environment);
  const log = createLog({ service, version, ...(together ? { together } : {}), ...reporting });
  // The work of this process is lost then, but the log has the reason and the exit code of a bug.
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.once(event, (thrown: unknown) => {
      const error = asBerthError(thrown);
      log.error('failed', error.message, { code: error.code, error });
      exit(error.exitCode);
    });
  }
  try {
    const { config, warnings } = read(environment);
    for (const warning of warnings) log.warn('unknown_setting', warning);
    review?.(config, log);
    log.info('started', `${command} ${version}`, { pid: process.pid });
    await run(config, log);
    log.info('stopped', `${command} has stopped`);
    return 0;
  } catch (thrown) {
    const error = asBerthError(thrown);
    const why = error.code === 'internal' ? { error } : {};
    log.error('failed', error.message, { code: error.code, exit_code: error.exitCode, ...why });
    await leaveTerminationMessage(reporting.terminationLog, error.message);
    return error.exitCode;
  }
}
