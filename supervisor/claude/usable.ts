/**
 * The CLI for a command beside the server: the one that is named, else `claude` on the PATH, else what
 * init has put on the volume, else the one before that. Only asked for its version; `berth serve` tests
 * the one that it runs, too.
 */
import { installedPlace, isInstalled, readInstalled } from '../../shared/installed-cli.ts';
import { checkVersion, isAbsent } from './command.ts';

export interface Places {
  /** BERTH_CLAUDE_PATH. */
  claudePath?: string | undefined;
  stateDirectory: string;
}

/**
 * @returns its path, or `claude`
 * @throws BerthError `cli_unavailable` of the one that comes first; the signal's reason
 */
export async function findUsable(
  { claudePath, stateDirectory }: Places,
  environment: Record<string, string>,
  signal: AbortSignal,
): Promise<string> {
  const named = claudePath ?? 'claude';
  try {
    await checkVersion(named, environment, signal);
    return named;
  } catch (error) {
    signal.throwIfAborted();
    if (claudePath !== undefined || !isAbsent(error as Error)) throw error;
    const installed = await readInstalled(stateDirectory);
    for (const id of [installed?.current, installed?.previous]) {
      if (id === undefined || !(await isInstalled(stateDirectory, id))) continue;
      const { binary } = installedPlace(stateDirectory, id);
      const works = await checkVersion(binary, environment, signal).then(
        () => true,
        () => false,
      );
      if (works) return binary;
    }
    throw error;
  }
}
