/** Checks the CLI that `berth serve` would run: where it is, and whether it can be used. */
import { BerthError } from '../../shared/errors.ts';
import {
  type Installed,
  idOf,
  installedPlace,
  isInstalled,
  readInstalled,
} from '../../shared/installed-cli.ts';
import { cliEnvironment } from '../claude/environment.ts';
import { checkVersion, isAbsent } from '../claude/version.ts';
import type { SupervisorConfig } from '../config.ts';
import { type Finding, failedBy, ok, warning } from './check.ts';

/** Only the version is checked; the self-test runs at a start of `berth serve`. */
export async function checkCli(config: SupervisorConfig, signal: AbortSignal): Promise<Finding[]> {
  const { claudePath, configDirectory, stateDirectory, inherited } = config;
  const environment = cliEnvironment(inherited, configDirectory, 'doctor');
  const look = async (path: string): Promise<Finding> =>
    ok(path, `version ${await checkVersion(path, environment, signal)}`);
  const named = claudePath ?? 'claude';
  try {
    return [await look(named)];
  } catch (error) {
    // A configured CLI, or an existing CLI, is not skipped in favour of the CLI that init
    // installed.
    const mayPass = claudePath === undefined && isAbsent(error as Error);
    const installed = mayPass ? await readInstalled(stateDirectory) : undefined;
    if (!installed) return [failedBy(named, error)];
    return [
      ...(await checkInstalled(installed, stateDirectory, look)),
      ...checkWanted(installed, inherited.BERTH_CLAUDE_INTEGRITY),
    ];
  }
}

/**
 * The current installation; if it fails, its predecessor, with which `berth serve` keeps running.
 */
async function checkInstalled(
  { current, previous }: Installed,
  stateDirectory: string,
  look: (path: string) => Promise<Finding>,
): Promise<Finding[]> {
  const lookAt = async (id: string): Promise<Finding> => {
    const { binary } = installedPlace(stateDirectory, id);
    try {
      if (await isInstalled(stateDirectory, id)) return await look(binary);
      const text = `cannot run Claude Code at ${binary}: the file does not exist any more; delete the pod, so that init installs it again`;
      throw new BerthError('cli_unavailable', text);
    } catch (error) {
      return failedBy(binary, error);
    }
  };
  const found = await lookAt(current);
  if (found.status === 'ok' || previous === undefined) return [found];
  const before = await lookAt(previous);
  if (before.status !== 'ok') return [found];
  const remedy =
    'set BERTH_CLAUDE_TARBALL and BERTH_CLAUDE_INTEGRITY to a version that runs on these nodes';
  return [warning(found.subject, `${found.detail}; its predecessor is used`, remedy), before];
}

function checkWanted({ current }: Installed, integrity: string | undefined): Finding[] {
  if (!integrity || idOf(integrity) === current) return [];
  const detail = 'it names another CLI than the CLI in use: init could not install it';
  return [warning('BERTH_CLAUDE_INTEGRITY', detail, 'see `cli_not_installed` in the log of init')];
}
