/** Looks at real processes, as a test needs it: which ones a worker has started, who lives. */
import { readdirSync, readFileSync } from 'node:fs';

export interface FoundProcess {
  pid: number;
  command: string;
  /** Whether it leads a process group, as each worker's CLI does. */
  leader: boolean;
  /** `NAME=value`, each. */
  environment: string[];
}

/**
 * Processes that any worker on a configuration directory has started, by the marks that all of them
 * inherit; zombies, which have no environment any more, do not count.
 * @param folder the configuration directory, or one above it
 */
export function processesOf(folder: string): FoundProcess[] {
  const directory = `CLAUDE_CONFIG_DIR=${folder}`;
  const isBelow = (entry: string) => entry === directory || entry.startsWith(`${directory}/`);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const environment = read(`/proc/${name}/environ`).split('\0');
      const marked = environment.some((entry) => entry.startsWith('BERTH_WORKER='));
      if (!marked || !environment.some(isBelow)) return [];
      const command = read(`/proc/${name}/cmdline`).replaceAll('\0', ' ').trim();
      return [{ pid: Number(name), command, leader: isLeader(name), environment }];
    });
}

/** Those of them that are `tail -f`, with which a test has the Bash tool run for ever. */
export function tailsOf(configDirectory: string): FoundProcess[] {
  return processesOf(configDirectory).filter(({ command }) => command.startsWith('tail -f'));
}

function isLeader(pid: string): boolean {
  const [, , group] = read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? [];
  return group === pid;
}

/** Whether a process of that id is there, zombies aside. */
export function lives(pid: number): boolean {
  const state = /^State:\s+(\w)/m.exec(read(`/proc/${pid}/status`))?.[1];
  return state !== undefined && state !== 'Z' && state !== 'X';
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
