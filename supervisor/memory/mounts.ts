/** Lists the mount points that this process sees. */
import { readFile } from 'node:fs/promises';

/**
 * Absolute paths; empty if they are unreadable. Source: proc(5), the fifth field of mountinfo.
 * @param root of procfs
 */
export async function mountPoints(root = '/proc'): Promise<ReadonlySet<string>> {
  const lines = await readFile(`${root}/self/mountinfo`, 'utf8').catch(() => '');
  return new Set(lines.split('\n').flatMap((line) => pathIn(line.split(' ')[4])));
}

/** Space, tab, newline and backslash are octal numbers in this file. */
function pathIn(field: string | undefined): string[] {
  if (!field) return [];
  return [
    field.replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8))),
  ];
}
