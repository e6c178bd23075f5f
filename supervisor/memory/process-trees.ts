/**
 * The memory of each worker's process tree: the CLI, its MCP servers, the children of its tools, and
 * those that left them all, which are found by what they inherited. In bytes.
 * Memory that processes share is counted once, as far as the kernel tells: proportional sizes (PSS)
 * cost a walk of the page tables, so what a process shares is measured now and then, one at a time,
 * and taken off its resident size in each round.
 * Always holds: whoever was once seen in a tree belongs to it until it ends.
 */
import { readFile } from 'node:fs/promises';
import { environmentOf, type ProcessEntry, readPageSize, readProcesses } from './process-table.ts';

export interface TreeRoot {
  name: string;
  /** The CLI's. */
  pid: number;
}

export interface Tree {
  /** What it takes from the container: resident memory, less what it shares with others. */
  bytes: number;
  /** All that its processes have resident: jumps less than `bytes`, so growth is measured by it. */
  resident: number;
  /** What the largest of its processes has resident. */
  largest: number;
  processes: number;
}

export interface ProcessTreesOptions {
  /** What every process of that worker has in its environment. */
  marksOf: (worker: string) => Readonly<Record<string, string>>;
  /** Where procfs is mounted. */
  root?: string;
  /** Processes that are read in a round, at most. */
  most?: number;
}

interface Known {
  started: string;
  /** The worker that it belongs to. */
  owner: string | undefined;
  /** Bytes that others have too, at last measurement. */
  shared: number;
  /** When that was, by performance.now(). */
  measured: number;
}

/** Smaller ones share little; the page tables of larger ones take too long to walk. */
const leastMeasured = 16 * 2 ** 20;
const mostMeasured = 2 ** 30;
/** Milliseconds after which what a process shares is measured again. */
const remeasureAfter = 30_000;

export class ProcessTrees {
  readonly #marksOf: ProcessTreesOptions['marksOf'];
  readonly #root: string;
  readonly #pageSize: number;
  readonly #most: number;
  #known = new Map<number, Known>();

  constructor({ marksOf, root = '/proc', most = 4_000 }: ProcessTreesOptions) {
    this.#most = most;
    this.#marksOf = marksOf;
    this.#root = root;
    this.#pageSize = readPageSize(root);
  }

  /** One round: a tree for each root; an empty one if it has ended. */
  read(roots: readonly TreeRoot[]): Map<string, Tree> {
    const processes = readProcesses(this.#root, this.#pageSize, this.#most);
    const trees = new Map<string, Tree>();
    for (const { name } of roots)
      trees.set(name, { bytes: 0, resident: 0, largest: 0, processes: 0 });
    for (const [entry, known] of this.#attribute(processes, roots)) {
      const tree = known.owner === undefined ? undefined : trees.get(known.owner);
      if (!tree) continue;
      tree.resident += entry.resident;
      tree.bytes += Math.max(0, entry.resident - known.shared);
      tree.largest = Math.max(tree.largest, entry.resident);
      tree.processes += 1;
    }
    return trees;
  }

  /** What was once seen in the tree of a worker and lives: also what has left it since. */
  pidsOf(worker: string): number[] {
    const processes = readProcesses(this.#root, this.#pageSize, this.#most);
    return [...this.#known].flatMap(([pid, { owner, started }]) => {
      const now = processes.get(pid);
      const isSame = now?.started === started && !now.zombie;
      return owner === worker && isSame ? [pid] : [];
    });
  }

  /** Measures what one process shares: the one for which that is longest ago, if any is due. */
  async measure(now: number): Promise<void> {
    const due = [...this.#known]
      .filter(([, { owner, measured }]) => owner !== undefined && measured + remeasureAfter <= now)
      .sort(([, a], [, b]) => a.measured - b.measured)[0];
    if (!due) return;
    const [pid, known] = due;
    known.measured = now;
    known.shared = (await sharedBytes(this.#root, pid, this.#pageSize)) ?? known.shared;
  }

  #attribute(
    processes: ReadonlyMap<number, ProcessEntry>,
    roots: readonly TreeRoot[],
  ): [ProcessEntry, Known][] {
    const before = this.#known;
    this.#known = new Map();
    const owners = new Map(roots.map(({ name, pid }) => [pid, name]));
    const marks = roots.map(({ name }) => ({ name, entries: entriesOf(this.#marksOf(name)) }));
    const resolve = (entry: ProcessEntry): Known => {
      const done = this.#known.get(entry.pid);
      if (done) return done;
      const seen = before.get(entry.pid);
      const known: Known =
        seen?.started === entry.started
          ? seen
          : {
              started: entry.started,
              owner: undefined,
              shared: 0,
              measured: Number.NEGATIVE_INFINITY,
            };
      // Set before its parent is looked at: a circle, which no kernel tells, ends here.
      this.#known.set(entry.pid, known);
      known.owner ??= owners.get(entry.pid);
      if (known !== seen && known.owner === undefined) {
        const parent = processes.get(entry.parent);
        known.owner = (parent && resolve(parent).owner) ?? this.#ownerByMarks(entry.pid, marks);
      }
      return known;
    };
    return [...processes.values()].map((entry) => [entry, resolve(entry)]);
  }

  #ownerByMarks(pid: number, marks: readonly { name: string; entries: string[] }[]) {
    const environment = environmentOf(this.#root, pid);
    return marks.find(({ entries }) => entries.every((entry) => environment.has(entry)))?.name;
  }
}

function entriesOf(marks: Readonly<Record<string, string>>): string[] {
  return Object.entries(marks).map(([name, value]) => `${name}=${value}`);
}

/** Undefined if the kernel does not tell, or it is not worth asking. */
async function sharedBytes(
  root: string,
  pid: number,
  pageSize: number,
): Promise<number | undefined> {
  try {
    const pages = Number((await readFile(`${root}/${pid}/statm`, 'utf8')).split(' ')[1]);
    const resident = pages * pageSize;
    if (!(resident >= leastMeasured && resident <= mostMeasured)) return undefined;
    const rollup = await readFile(`${root}/${pid}/smaps_rollup`, 'utf8');
    const read = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(rollup)?.[1]) * 1_024;
    const shared = read('Rss') - read('Pss');
    return Number.isFinite(shared) ? Math.max(0, shared) : undefined;
  } catch {
    return undefined;
  }
}
