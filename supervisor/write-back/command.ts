/** `berth write-back`: the sidecar, the only container with a Kubernetes token. */
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { aborted } from '../../shared/waiting.ts';
import { readWriteBackConfig, type WriteBackConfig } from '../config.ts';
import { closeServer, listen } from '../http/listen.ts';
import { createProbesServer } from '../http/probes.ts';
import { runService } from '../run-service.ts';
import { createWriteBackMetrics } from './metrics.ts';
import { SecretApi } from './secret-api.ts';
import { WriteBack } from './write-back.ts';

/**
 * @param environment of the process
 * @param exit ends this process with a code, when the process can no longer be trusted
 * @returns the exit code; its error is already logged
 */
export function writeBack(
  environment: NodeJS.ProcessEnv,
  exit: (code: number) => void,
): Promise<number> {
  return runService({
    ...{ command: 'berth write-back', service: 'berth-write-back', environment, exit },
    read: readWriteBackConfig,
    run: writeBackUntilStopped,
  });
}

/** @throws BerthError `write_back_failed` if a login is left unwritten */
async function writeBackUntilStopped(config: WriteBackConfig, log: Log): Promise<void> {
  const stop = new AbortController();
  const now = new AbortController();
  const onSignal = (): void => (stop.signal.aborted ? now : stop).abort();
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  const { configDirectory, stateDirectory, apiHost, apiPort, accountDirectory, secret } = config;
  const api = new SecretApi({ host: apiHost, port: apiPort, accountDirectory, secret });
  const { registry, observer } = createWriteBackMetrics(() => writing.pending);
  const writing = new WriteBack({ configDirectory, stateDirectory, api, log, observer });
  const server = createProbesServer({ ready: () => true, registry });
  try {
    const origin = await listen(server, config.listen, 'BERTH_WRITE_BACK_LISTEN');
    log.info('listening', 'serving /livez and /metrics', { metrics_address: origin });
    const running = writing.run();
    await Promise.race([aborted(stop.signal), running]);
    if (await writing.stop(now.signal)) return;
    throw new BerthError(
      'write_back_failed',
      'cannot write the last login back: the stop deadline was reached; if the volume is lost too, log in again',
    );
  } finally {
    await writing.stop(now.signal);
    await closeServer(server);
  }
}
