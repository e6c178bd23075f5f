/** Runs a script in a process that can have no further file open, for files that cannot be read just now. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Of the repository, for the imports of scripts. */
export const root = join(import.meta.dirname, '../..');

/** For scripts: `exhaust()` takes all descriptors, and returns what frees them. */
const prelude = `
  import { closeSync, openSync } from 'node:fs';
  const exhaust = () => {
    const taken = [];
    try {
      for (;;) taken.push(openSync('/dev/null', 'r'));
    } catch {}
    return () => taken.forEach((each) => closeSync(each));
  };
`;

/** @param script a module; it calls `exhaust` and prints JSON @returns what the script has printed */
export async function withoutDescriptors(script: string, ...args: string[]): Promise<unknown> {
  const command = 'ulimit -n 64; exec "$0" --input-type=module -e "$@"';
  const { stdout } = await promisify(execFile)(
    'sh',
    ['-c', command, process.execPath, prelude + script, ...args],
    { cwd: root },
  );
  return JSON.parse(stdout);
}
