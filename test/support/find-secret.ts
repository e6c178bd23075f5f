/** Where secrets have leaked to: files, and the command lines and environments of running processes. */
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

/** The environments, with the process that has it, in which that variable stands: `NAME=value`. */
export function environmentsWith(variable: string): { pid: number; variables: string[] }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => ({ pid: Number(pid), variables: readProcess(pid, 'environ').split('\0') }))
    .filter(({ variables }) => variables.includes(variable));
}

function readProcess(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}
