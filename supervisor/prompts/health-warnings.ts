/** What a caller is told of things that the CLI of the answer could not load or run. */
import type { HealthKind, HealthReport } from '../claude/cli-health.ts';
import type { Profile } from '../profiles/profile.ts';

/** One sentence for each; none for a server of which the profile allows no tool. */
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
  hook: (name) => `the hook ${name} failed, and what it was to check was not checked`,
};

function mayUse(server: string, allow: readonly string[] | undefined): boolean {
  if (allow === undefined) return true;
  // The CLI writes a server's name into those of its tools with other characters replaced.
  const prefix = `mcp__${server.replaceAll(/[^A-Za-z0-9_-]/g, '_')}`;
  return allow.some((rule) => rule.startsWith(prefix) || rule === 'mcp__*');
}
