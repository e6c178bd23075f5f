/**
 * The MCP servers, plugins, skills and hooks that CLI processes could not load or run, by profile: for the
 * log, the status, the metrics and the warnings of an answer.
 * Invariants: a problem is logged when it begins, when it changes and when it ends, not with each turn. The
 * list is bounded.
 */
import type { Log } from '../../shared/log.ts';
import type { HealthKind, HealthReport } from '../claude/cli-health.ts';
import type { Profile } from '../profiles/profile.ts';

export interface CliProblem {
  profile: string;
  kind: HealthKind;
  name: string;
  problem: string;
  /** Milliseconds since 1970: when the problem was seen first. */
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

  /** Adds the reports of one process of the profile. */
  note(profile: string, reports: readonly HealthReport[]): void {
    const reported = new Set(reports.map(({ kind, name }) => keyOf(profile, kind, name)));
    for (const report of reports) this.#noteOne(profile, report);
    // A process reports all its servers, but only the hooks that it has run itself.
    for (const [key, { profile: of, kind }] of this.#problems) {
      const gone = of === profile && kind !== 'hook' && !reported.has(key);
      if (gone && reports.some((each) => each.kind === kind)) this.#problems.delete(key);
    }
  }

  /** Call it when the profiles or the commit of the configuration have changed. */
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

/** One warning for each problem of the process that answered; none for a server that the profile forbids. */
export function healthWarnings(
  reports: readonly HealthReport[],
  { tools }: Pick<Profile, 'tools'>,
): string[] {
  return reports.flatMap(({ kind, name, problem }) => {
    if (problem === undefined) return [];
    if (kind === 'mcp_server' && !mayUse(name, tools.allow)) return [];
    return [`${sentences[kind](name)}: ${problem}`];
  });
}

const sentences: Readonly<Record<HealthKind, (name: string) => string>> = {
  mcp_server: (name) => `the MCP server ${name} has no connection, and its tools were not there`,
  skill: (name) => `the skill ${name} was not loaded`,
  plugin: (name) => `the plugin ${name} was not loaded`,
  hook: (name) => `the hook ${name} failed, and its check did not run`,
};

function mayUse(server: string, allow: readonly string[] | undefined): boolean {
  if (allow === undefined) return true;
  // The CLI replaces other characters of a server's name in the names of its tools.
  const prefix = `mcp__${server.replaceAll(/[^A-Za-z0-9_-]/g, '_')}`;
  return allow.some((rule) => rule.startsWith(prefix) || rule === 'mcp__*');
}
