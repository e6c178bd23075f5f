/**
 * berth-init: prepares a volume for the CLI and exits. It reads the settings, runs the steps, and reports
 * the result by its exit code, its log and the termination message of the container.
 * Invariants: only this file ends the process, and the process ends in time, even if a call hangs.
 */
import { startupSnapshot } from 'node:v8';
import { asBerthError, BerthError } from '../shared/errors.ts';
import { createLog, type Log } from '../shared/log.ts';
import { printable } from '../shared/printable.ts';
import { redact } from '../shared/redact.ts';
import { leaveTerminationMessage, type Reporting, readReporting } from '../shared/reporting.ts';
import { formatDuration } from '../shared/units.ts';
import { version } from '../shared/version.ts';
import { type InitConfig, initDefinitions, readInitConfig } from './config.ts';
import { prepare } from './prepare.ts';
import { volumeStates } from './volume/volume-states.ts';

const usage = `berth-init ${version}: writes a private .claude repository and credentials to a volume.

Its settings are environment variables:
${Object.values(initDefinitions)
  .filter((definition) => !('internal' in definition))
  .map(({ name, default: value }) => `  ${name}${value === undefined ? '' : ` (${value})`}`)
  .join('\n')}

With --check it only prints the state of the volume and what a run would do; nothing is written,
and the exit code is that of the state: ${Object.entries(volumeStates)
  .map(([name, { exit }]) => `${exit} ${name}`)
  .join(', ')}.

Other arguments: --help, --version.
Exit codes: 0 done; 64 configuration; 65 volume beyond repair; 69 git server unavailable;
70 a bug; 73 volume cannot be written; 75 lease held by another; 77 refused by the git server.
`;

/** Exit codes by signal, as a shell reports them. */
const signals = { SIGTERM: 143, SIGINT: 130 } as const;

/** Milliseconds from the deadline, or from a signal, to the forced end of the process. */
const grace = 5_000;

async function main(): Promise<number> {
  process.umask(0o022);
  const reporting = readReporting(process.env);
  const log = createLog({ service: 'berth-init', version, ...reporting });
  let stoppedBy: keyof typeof signals | undefined;
  const stop = new AbortController();
  for (const name of Object.keys(signals) as (keyof typeof signals)[]) {
    process.once(name, () => {
      stoppedBy = name;
      stop.abort(new Error(`stopped by ${name}`));
      endWithin(grace, signals[name]);
    });
  }
  // For failures outside the awaited code. A lease that is left behind is taken over at once.
  const failBeside = async (thrown: unknown) => {
    end(await fail(thrown, reporting.terminationLog, log));
  };
  process.once('uncaughtException', failBeside);
  try {
    const { config, warnings, advice } = readInitConfig(process.env);
    for (const warning of warnings) log.warn('unknown_setting', warning);
    for (const sentence of advice) log.warn('setting_advice', sentence);
    const { repository, ref, configDirectory } = config;
    log.debug('started', 'berth-init started', {
      repository: repository.url,
      ref,
      directory: configDirectory,
    });
    const deadline = () => withDeadline(stop.signal, config, reporting, log);
    if (config.syncInterval !== undefined) {
      const { stay } = await import('./sync/stay.ts');
      const readConfig = () => readInitConfig(process.env).config;
      const { signal } = stop;
      const { gateway } = config;
      const services = gateway
        ? [(await import('./gateway/service.ts')).gatewayService(gateway)]
        : [];
      if (config.proposePaths) {
        const { proposalsService } = await import('./proposals/service.ts');
        services.push(proposalsService(config.syncInterval));
      }
      await stay({ config, readConfig, log, signal, deadline, services });
      log.info('stopped', `stopped by ${stoppedBy}`);
      return 0;
    }
    const report = await prepare(config, log, deadline().signal);
    if (report.remote_error) {
      await leaveTerminationMessage(
        reporting.terminationLog,
        `continued without it: ${report.remote_error.message}`,
      );
    }
    return 0;
  } catch (thrown) {
    if (stoppedBy !== undefined) {
      log.warn('stopped', `stopped by ${stoppedBy}; the volume stays unchanged`);
      return signals[stoppedBy];
    }
    return await fail(thrown, reporting.terminationLog, log);
  } finally {
    process.off('uncaughtException', failBeside);
  }
}

/** `--check`, for a person at a terminal. */
async function check(): Promise<number> {
  try {
    const { checkVolume } = await import('./check.ts');
    const { exitCode, text } = await checkVolume(readInitConfig(process.env).config);
    process.stdout.write(text);
    return exitCode;
  } catch (thrown) {
    const error = asBerthError(thrown);
    const lines = redact(error.message).split('\n').map(printable);
    process.stderr.write(`${lines.join('\n')}\n`);
    return error.exitCode;
  }
}

/** Aborts at a signal or at BERTH_TIMEOUT, whichever comes first. */
function withDeadline(
  stop: AbortSignal,
  { timeout }: InitConfig,
  reporting: Reporting,
  log: Log,
): { signal: AbortSignal; clear: () => void } {
  const late = new AbortController();
  const timer = setTimeout(() => {
    const reason = `cannot prepare the volume within ${formatDuration(timeout)}: something hangs or the volume is slow; see the log, and raise BERTH_TIMEOUT if it is only slow`;
    const error = new BerthError('volume_unwritable', reason);
    late.abort(error);
    endWithin(grace, error.exitCode, () => fail(error, reporting.terminationLog, log));
  }, timeout);
  timer.unref();
  return { signal: AbortSignal.any([stop, late.signal]), clear: () => clearTimeout(timer) };
}

/**
 * Ends the process after this time if it still runs. @param report reports the failure before the
 * end
 */
function endWithin(milliseconds: number, code: number, report = async () => code): void {
  setTimeout(() => {
    // Writing the message may have to wait for threads that hang.
    setTimeout(() => end(code), 500).unref();
    void report().finally(() => end(code));
  }, milliseconds).unref();
}

/**
 * Ends the process now. `process.exit` waits for every thread, and a thread may hang in a call to a
 * volume (NFS) or a name server. `execve` waits for no thread, and works for the first process of a
 * container too, which cannot end itself by a signal.
 */
function end(code: number): void {
  // A request counts as active until its callback returns, and this code may run in such a
  // callback.
  setImmediate(() => {
    const waits = process.getActiveResourcesInfo().some((one) => /^(FSReq|GetAddrInfo)/.test(one));
    if (!waits) process.exit(code);
    process.execve?.(process.execPath, [process.execPath, '-e', `process.exit(${code})`], {});
  });
}

async function fail(thrown: unknown, terminationLog: string, log: Log): Promise<number> {
  const error = asBerthError(thrown);
  const { code, exitCode } = error;
  // For a bug, log the stack of the thrown error.
  const why = error.cause ? { error: error.cause } : code === 'internal' ? { error } : {};
  log.error('failed', error.message, { code, exit_code: exitCode, ...why });
  await leaveTerminationMessage(terminationLog, error.message);
  return error.exitCode;
}

async function start(): Promise<void> {
  const [argument] = process.argv.slice(2);
  if (argument === '--version') {
    process.stdout.write(`${version}\n`);
  } else if (argument === '--help') {
    process.stdout.write(usage);
  } else if (argument === '--check') {
    end(await check());
  } else if (argument !== undefined) {
    process.stderr.write(`berth-init has no argument ${argument}; see --help\n`);
    process.exitCode = 64;
  } else {
    end(await main());
  }
}

// While the image is built: every module that is loaded now becomes part of the snapshot.
if (startupSnapshot.isBuildingSnapshot()) {
  startupSnapshot.setDeserializeMainFunction(() => void start());
  // Node loads these modules at the first listening socket and at the first answer.
  void import('node:cluster');
  void import('node:perf_hooks');
} else {
  void start();
}
