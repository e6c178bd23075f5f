/**
 * What a worker has left behind. The CLI gives each Bash command a session of its own, so when it is
 * killed they outlive it and its process group, and those in the background outlive even its clean
 * end. They are found by what all of them inherited (claude/environment.ts).
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Rounds of looking and killing, and milliseconds between them: dying takes a moment. */
const mostRounds = 100;
const pause = 10;

/**
 * Kills every process whose environment has all of `marks`; returns when none is left, after a second
 * at most.
 * @param root where procfs is mounted
 */
export async function killMarked(
  marks: Readonly<Record<string, string>>,
  root = '/proc',
): Promise<void> {
  for (let round = 0; round < mostRounds; round++) {
    const found = await findMarked(marks, root);
    if (found.length === 0) return;
    for (const pid of found) kill(pid);
    await delay(pause);
  }
}

async function findMarked(marks: Readonly<Record<string, string>>, root: string) {
  const wanted = Object.entries(marks).map(([name, value]) => `${name}=${value}`);
  const names = (await readdir(root).catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    names.map(async (name) => {
      // A zombie's is empty, and that of somebody else's process cannot be read.
      const environment = await readFile(join(root, name, 'environ'), 'utf8').catch(() => '');
      const entries = environment.split('\0');
      return wanted.every((entry) => entries.includes(entry)) ? [Number(name)] : [];
    }),
  );
  return found.flat().filter((pid) => pid !== process.pid);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
