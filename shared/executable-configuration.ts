/**
 * Which paths of the CLI's configuration directory make the CLI run something. They are always as
 * upstream has them: init replaces an edit at its next run, the supervisor while it runs.
 */

export const executableDirectories = [
  'hooks',
  'skills',
  'agents',
  'commands',
  'plugins',
  'output-styles',
  'workflows',
] as const;

/** `.config.json`: the old name of `.claude.json`, which 2.1.330 prefers where it is there (MCP servers). */
const executableFile = /^(settings[^/]*\.json|\.mcp\.json|\.config\.json)$/i;

const directoryNames: ReadonlySet<string> = new Set(executableDirectories);

/** @param path below the configuration directory, with `/` between its parts */
export function isExecutableConfiguration(path: string): boolean {
  const slash = path.indexOf('/');
  const first = slash < 0 ? path : path.slice(0, slash);
  return directoryNames.has(first.toLowerCase()) || (slash < 0 && executableFile.test(path));
}
