/** The CLI that berth serve would run: where it is looked for, and whether it can be used. */
import { BerthError } from '../../shared/errors.ts';
import {
  type Installed,
  idOf,
  installedPlace,
  isInstalled,
  readInstalled,
} from '../../shared/installed-cli.ts';
import { checkVersion, isAbsent } from '../claude/command.ts';
import { cliEnvironment } from '../claude/environment.ts';
import type { SupervisorConfig } from '../config.ts';
import { type Finding, failedBy, ok, warning } from './check.ts';

/** It is asked for its version alone: whether it does more is found out at a start. */
export async function checkCli(config: SupervisorConfig, signal: AbortSignal): Promise<Finding[]> {
  const { claudePath, configDirectory, stateDirectory, inherited } = config;
  const environment = cliEnvironment(inherited, configDirectory, 'doctor');
  const look = async (path: string): Promise<Finding> =>
    ok(path, `version ${await checkVersion(path, environment, signal)}`);
  const named = claudePath ?? 'claude';
  try {
    return [await look(named)];
  } catch (error) {
    // One that is named, or that is there, is not passed over for what init has installed.
    const mayPass = claudePath === undefined && isAbsent(error as Error);
    const installed = mayPass ? await readInstalled(stateDirectory) : undefined;
    if (!installed) return [failedBy(named, error)];
    return [
      ...(await checkInstalled(installed, stateDirectory, look)),
      ...checkWanted(installed, inherited.BERTH_CLAUDE_INTEGRITY),
    ];
  }
}

/** The one that counts; if it fails, the one before it, which keeps berth serve running. */
async function checkInstalled(
  { current, previous }: Installed,
  stateDirectory: string,
  look: (path: string) => Promise<Finding>,
): Promise<Finding[]> {
  const lookAt = async (id: string): Promise<Finding> => {
    const { binary } = installedPlace(stateDirectory, id);
    try {
      if (await isInstalled(stateDirectory, id)) return await look(binary);
      const text = `cannot run Claude Code at ${binary}: it is gone; delete the pod, so that init installs it anew`;
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
  return [warning(found.subject, `${found.detail}; the one before it is used`, remedy), before];
}

function checkWanted({ current }: Installed, integrity: string | undefined): Finding[] {
  if (!integrity || idOf(integrity) === current) return [];
  const detail = 'it names another CLI than the one that is used: init could not install it';
  return [warning('BERTH_CLAUDE_INTEGRITY', detail, 'see `cli_not_installed` in the log of init')];
}
