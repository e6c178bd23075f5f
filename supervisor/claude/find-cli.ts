/**
 * Finds the CLI for a command that runs beside the server, such as `berth login`: the configured CLI, otherwise `claude` on the
 * PATH, otherwise the CLI that init installed on the volume, otherwise its predecessor. Only the
 * version is checked; `berth serve` also tests the CLI that it runs.
 */
import { installedPlace, isInstalled, readInstalled } from '../../shared/installed-cli.ts';
import { checkVersion, isAbsent } from './version.ts';

export interface CliLocations {
  /** BERTH_CLAUDE_PATH. */
  claudePath?: string | undefined;
  stateDirectory: string;
}

/**
 * @returns the path of the CLI, or `claude`
 * @throws BerthError `cli_unavailable` of the first candidate; the signal's reason
 */
export async function findCli(
  { claudePath, stateDirectory }: CliLocations,
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
