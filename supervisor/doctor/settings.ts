/** Checks the settings, and provides the configuration with which the other checks continue. */
import type { Environment } from '../../shared/config.ts';
import { BerthError } from '../../shared/errors.ts';
import { readSupervisorConfig, type SupervisorConfig } from '../config.ts';
import { type Finding, failed, ok, warning } from './check.ts';

const remedy = 'correct the environment of the container (docs/configuration.md)';

export interface ReadLeniently {
  /** Invalid settings have their defaults. */
  config: SupervisorConfig;
  findings: Finding[];
}

export function readLeniently(environment: Environment): ReadLeniently {
  const read = settingsFindings(environment, () => readSupervisorConfig(environment));
  return {
    config: read.config ?? readWithout(environment, read.problems),
    findings: read.findings,
  };
}

/** @param read throws `config_invalid`: then there is no `config`, only the problems */
export function settingsFindings<T>(
  environment: Environment,
  read: () => { config: T; warnings: string[] },
): { config?: T; findings: Finding[]; problems: string[] } {
  try {
    const { config, warnings } = read();
    const findings = warnings.map((sentence) => warning('environment', sentence, remedy));
    const set = Object.keys(environment).filter((name) => name.startsWith('BERTH_')).length;
    if (findings.length === 0) findings.push(ok('environment', `${set} set, all valid`));
    return { config, findings, problems: [] };
  } catch (error) {
    if (!(error instanceof BerthError)) throw error;
    const problems = error.details.problems as string[];
    return {
      findings: problems.map((problem) => failed('environment', problem, remedy)),
      problems,
    };
  }
}

/** Removes the settings with problems, and the check that exists only under Kubernetes. */
function readWithout(environment: Environment, problems: readonly string[]): SupervisorConfig {
  const left: Record<string, string | undefined> = { ...environment };
  delete left.KUBERNETES_SERVICE_HOST;
  for (const problem of problems) {
    for (const [name] of problem.matchAll(/\bBERTH_[A-Z_]+/g)) {
      delete left[name];
      delete left[name.replace(/_FILE$/, '')];
      delete left[`${name}_FILE`];
    }
  }
  return { ...readSupervisorConfig(left).config, inherited: environment };
}
