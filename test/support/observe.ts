/** What can be seen from outside: secrets in files and command lines, workers among processes. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join, relative } from 'node:path';

/** The files below `folder` (names, link targets and contents) in which one of the secrets stands. */
export function filesWith(folder: string, secrets: readonly string[]): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => ({ entry, path: join(entry.parentPath, entry.name) }))
    .filter(({ entry, path }) => {
      const content = entry.isSymbolicLink()
        ? readlinkSync(path)
        : entry.isFile()
          ? readFileSync(path, 'latin1')
          : '';
      return secrets.some((secret) => path.includes(secret) || content.includes(secret));
    })
    .map(({ path }) => relative(folder, path))
    .sort();
}

/** The command lines, of all processes, in which one of the secrets stands. */
export function commandLinesWith(secrets: readonly string[]): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => readProcess(pid, 'cmdline'))
    .filter((line) => secrets.some((secret) => line.includes(secret)));
}

/** The environments of the CLI processes, and of all that descend from them, of one volume. */
export function workerEnvironments(configDirectory: string): string[] {
  return workersOf(configDirectory).map((pid) => readProcess(pid, 'environ'));
}

/** The pids of all processes that a worker of a volume below `folder` has started, or is. */
export function workersOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const variables = readProcess(pid, 'environ').split('\0');
      const marked = variables.some((variable) => variable.startsWith('BERTH_WORKER='));
      return marked && variables.some((each) => each.startsWith(`CLAUDE_CONFIG_DIR=${folder}`));
    });
}

function readProcess(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}
