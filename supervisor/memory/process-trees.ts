/**
 * Measures the memory of each worker's process tree: the CLI, its MCP servers, the children of its
 * tools, and processes that left the tree, which are found by their inherited environment. In
 * bytes. Shared memory counts once, as far as the kernel reports it. Proportional sizes (PSS) cost
 * a walk of the page tables; so the shared memory of a process is measured rarely, one process at a
 * time, and subtracted from its resident size in each round.
 * Invariant: a process that was once seen in a tree belongs to it until the process ends.
 */
import { readFile } from 'node:fs/promises';
import {
  environmentOf,
  markEntries,
  type ProcessEntry,
  readPageSize,
  readProcesses,
} from './process-table.ts';

export interface TreeRoot {
  name: string;
  /** The pid of the CLI. */
  pid: number;
}

export interface Tree {
  /**
   * The memory that the tree takes from the container: resident memory, less the memory shared with
   * others.
   */
  bytes: number;
  /**
   * The resident memory of all processes. It jumps less than `bytes`, so growth is measured by it.
   */
  resident: number;
  /** The resident memory of the largest process. */
  largest: number;
  processes: number;
}

export interface ProcessTreesOptions {
  /** The environment variables that every process of the worker carries. */
  marksOf: (worker: string) => Readonly<Record<string, string>>;
  /** Where procfs is mounted. */
  root?: string;
  /** The maximum number of processes that are read in a round. */
  most?: number;
}

interface Known {
  started: string;
  /** The worker to which the process belongs. */
  owner: string | undefined;
  /** Bytes shared with other processes at the last measurement. */
  shared: number;
  /** The time of that measurement, by performance.now(). */
  measured: number;
}

/** Smaller processes share little; walking the page tables of larger processes takes long. */
const leastMeasured = 16 * 2 ** 20;
const mostMeasured = 2 ** 30;
/** Milliseconds after which the shared memory of a process is measured again. */
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

  /** Runs one round: a tree for each root; an empty tree if the root has ended. */
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

  /**
   * The living processes that were ever seen in the worker's tree, also those that have left it.
   */
  pidsOf(worker: string): number[] {
    const processes = readProcesses(this.#root, this.#pageSize, this.#most);
    return [...this.#known].flatMap(([pid, { owner, started }]) => {
      const now = processes.get(pid);
      const isSame = now?.started === started && !now.zombie;
      return owner === worker && isSame ? [pid] : [];
    });
  }

  /**
   * Measures the shared memory of one process: the process with the oldest measurement, if one is
   * due.
   */
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
    const marks = roots.map(({ name }) => ({ name, entries: markEntries(this.#marksOf(name)) }));
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
      // Set before its parent is visited, so that a circle, which no kernel reports, ends here.
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

/** Undefined if the kernel does not report it, or the process is too small. */
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
