/**
 * What does not work of the things that CLI processes load and run (MCP servers, plugins, hooks), by
 * profile: for the log, the status and the metrics.
 * Always holds: a problem is logged when it begins, when it changes and when it ends, not at each turn;
 * there are never more than a bound of them.
 */
import type { Log } from '../../shared/log.ts';
import type { HealthKind, HealthReport } from '../claude/cli-health.ts';

export interface CliProblem {
  profile: string;
  kind: HealthKind;
  name: string;
  problem: string;
  /** Milliseconds since 1970: when it was seen first. */
  since: number;
}

const most = 500;

export class CliProblems {
  readonly #log: Log;
  readonly #problems = new Map<string, CliProblem>();

  constructor(log: Log) {
    this.#log = log;
  }

  get all(): readonly CliProblem[] {
    return [...this.#problems.values()];
  }

  /** Takes what one process of the profile reports. */
  note(profile: string, reports: readonly HealthReport[]): void {
    const reported = new Set(reports.map(({ kind, name }) => keyOf(profile, kind, name)));
    for (const report of reports) this.#noteOne(profile, report);
    // Servers are listed in full; a hook that another process has run is not known to this one.
    for (const [key, { profile: of, kind }] of this.#problems) {
      const gone = of === profile && kind !== 'hook' && !reported.has(key);
      if (gone && reports.some((each) => each.kind === kind)) this.#problems.delete(key);
    }
  }

  /** Of profiles that are no more, or that have changed. */
  forget(): void {
    this.#problems.clear();
  }

  #noteOne(profile: string, { kind, name, problem }: HealthReport): void {
    const key = keyOf(profile, kind, name);
    const known = this.#problems.get(key);
    const fields = { profile, kind, name };
    if (problem === undefined) {
      if (!this.#problems.delete(key)) return;
      this.#log.info('cli_problem_over', `the ${words[kind]} ${name} works again`, fields);
    } else if (known?.problem !== problem) {
      if (!known && this.#problems.size >= most) return;
      const since = known?.since ?? Date.now();
      this.#problems.set(key, { profile, kind, name, problem, since });
      this.#log.warn('cli_problem', `the ${words[kind]} ${name} does not work: ${problem}`, {
        ...fields,
        problem,
      });
    }
  }
}

const words: Readonly<Record<HealthKind, string>> = {
  mcp_server: 'MCP server',
  plugin: 'plugin',
  skill: 'skill',
  hook: 'hook',
};

function keyOf(profile: string, kind: HealthKind, name: string): string {
  return `${profile}\n${kind}\n${name}`;
}
