/**
 * `berth doctor`: checks everything that berth needs, and reports problems with their remedies. It
 * works beside a running supervisor and without one.
 * Invariants: it changes nothing, takes no lease, and shows no secret.
 */
import type { Environment } from '../../shared/config.ts';
import { formatSize } from '../../shared/units.ts';
import { version } from '../../shared/version.ts';
import { findMemoryCgroup, readContainerMemory } from '../memory/cgroup.ts';
import { checkCallbacks } from './callbacks.ts';
import { type Check, type Checked, type Finding, ok, runChecks, warning } from './check.ts';
import { checkClaudeSettings } from './claude-settings.ts';
import { checkCli } from './cli.ts';
import { checkCommands } from './commands.ts';
import { checkCredentials } from './credentials.ts';
import { checkEgress } from './egress.ts';
import { checkGithub } from './github.ts';
import { checkServer } from './server.ts';
import { readLeniently } from './settings.ts';
import { isWriteBackContainer, writeBackChecks } from './sidecar.ts';
import { checkVolume } from './volume.ts';
import { checkWriteBack } from './write-back.ts';

/** Milliseconds for each check. */
const deadline = 15_000;

export interface Diagnosis {
  version: string;
  /** True if nothing has failed; warnings do not count. */
  ok: boolean;
  findings: Checked[];
}

/** @returns the findings, and the exit code: 0, or that of the first failed check */
export async function diagnose(
  environment: Environment,
): Promise<{ diagnosis: Diagnosis; exitCode: number }> {
  const checks = checksOf(environment);
  const findings = await runChecks(checks, deadline);
  const bad = findings.find(({ status }) => status === 'failed');
  const exitCode = checks.find(({ name }) => name === bad?.check)?.exit ?? 0;
  return { diagnosis: { version, ok: exitCode === 0, findings }, exitCode };
}

function checksOf(environment: Environment): Check[] {
  if (isWriteBackContainer(environment)) return writeBackChecks(environment);
  const { config, findings } = readLeniently(environment);
  const { configDirectory, stateDirectory, inherited, doctorProbe, metricsListen } = config;
  const { callbackHosts } = config;
  return [
    { name: 'settings', exit: 64, run: async () => findings },
    { name: 'volume', exit: 73, run: () => checkVolume(configDirectory, stateDirectory) },
    { name: 'login', exit: 77, run: () => checkCredentials(config) },
    { name: 'cli', exit: 69, run: (signal) => checkCli(config, signal) },
    { name: 'memory', exit: 64, run: () => checkMemory() },
    { name: 'egress', exit: 69, run: (signal) => checkEgress(inherited, doctorProbe, signal) },
    { name: 'github', exit: 77, run: (signal) => checkGithub(inherited, signal) },
    { name: 'write-back', exit: 77, run: (signal) => checkWriteBack(inherited, signal) },
    { name: 'claude-settings', exit: 65, run: () => checkClaudeSettings(configDirectory) },
    { name: 'commands', exit: 69, run: (signal) => checkCommands(config, signal) },
    {
      ...{ name: 'callbacks', exit: 69 },
      run: (signal) => checkCallbacks(callbackHosts, inherited, signal),
    },
    { name: 'server', exit: 69, run: (signal) => checkServer(metricsListen, signal) },
  ];
}

async function checkMemory(): Promise<Finding[]> {
  const cgroup = findMemoryCgroup();
  const memory = cgroup && readContainerMemory(cgroup);
  const remedy = 'set resources.limits.memory of the container, 4Gi for 4 workers';
  if (!memory?.limit) {
    const detail = 'the container has no memory limit: workers could fill the node';
    return [warning('limit', detail, remedy)];
  }
  const { limit, workingSet, oomKills } = memory;
  const text = `${formatSize(workingSet)} of ${formatSize(limit)} are used`;
  const findings = [
    limit < 1024 ** 3
      ? warning('limit', `${text}: enough for one or two workers`, remedy)
      : ok('limit', text),
  ];
  if (oomKills) {
    const help = 'raise the limit, or lower BERTH_MAX_WORKERS or BERTH_WORKER_MEMORY_HARD';
    findings.push(
      warning('kernel', `it has killed ${oomKills} processes for lack of memory`, help),
    );
  }
  return findings;
}
