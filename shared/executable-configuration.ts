/**
 * Lists the paths of the CLI's configuration directory that make the CLI run something.
 * Invariant: these paths always equal upstream. init reverts an edit at its next run, and the
 * supervisor reverts it while it runs.
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

/**
 * `.config.json` is the old name of `.claude.json`; the CLI 2.1.330 prefers it if it exists (MCP
 * servers).
 */
const executableFile = /^(settings[^/]*\.json|\.mcp\.json|\.config\.json)$/i;

const directoryNames: ReadonlySet<string> = new Set(executableDirectories);

/** @param path below the configuration directory, with `/` between its parts */
export function isExecutableConfiguration(path: string): boolean {
  const slash = path.indexOf('/');
  const first = slash < 0 ? path : path.slice(0, slash);
  return directoryNames.has(first.toLowerCase()) || (slash < 0 && executableFile.test(path));
}
