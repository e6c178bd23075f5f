/**
 * Proves that a push only adds commits: the new commit of a branch must descend from the old one. The
 * commands of a push do not say whether the client forces it, so the commits themselves are read. git
 * writes the commits of a pack first, so the rest of a pack passes unread.
 * Invariants: the id of a commit is computed from its content. What cannot be proved counts as forced.
 * The bytes kept in memory are bounded.
 */
import { inflateObject } from '../git/inflate-object.ts';
import { applyDelta, objectId, readHeader, resultSize } from '../git/pack-format.ts';

/** Bytes of one commit, and of all commits. */
const largest = 1024 * 1024;
const mostBytes = 16 * 1024 * 1024;
const mostCommits = 20_000;
/** Bytes before the content of an object: its kind, its size and its base take fewer. */
const longestHeader = 64;
/** Bytes that are read together. */
const batch = 4_096;

/** The parents of commits, by their ids. */
export type History = Map<string, readonly string[]>;

/** Reads the commits at the beginning of a pack. */
export class CommitScan {
  /** The commits found so far. */
  readonly history: History;
  /** True when no more commits follow, or when too many do. */
  done = false;
  readonly #byOffset = new Map<number, Buffer>();
  readonly #byId = new Map<string, Buffer>();
  #pending: Buffer = Buffer.alloc(0);
  /** Bytes that wait until enough have come: many small chunks must not cost much time. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #offset = 0;
  #left: number | undefined;
  #bytes = 0;

  /** @param history gets the commits */
  constructor(history: History = new Map()) {
    this.history = history;
  }

  /** Takes the next bytes of the pack. @throws Error if the pack is damaged */
  add(chunk: Buffer): void {
    if (this.done) return;
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
    if (this.#waitingBytes >= batch) this.#read();
  }

  /** The bytes of the pack up to the end of the last commit that was read. */
  get consumed(): number {
    return this.#offset;
  }

  /** To be called at the end of the pack. @throws Error if the pack is damaged */
  finish(): void {
    if (!this.done) this.#read();
    this.#end();
  }

  #read(): void {
    this.#pending = Buffer.concat([this.#pending, ...this.#waiting]);
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (this.#left === undefined) {
      if (this.#pending.length < 12) return;
      const isPack = this.#pending.toString('latin1', 0, 4) === 'PACK';
      if (!isPack || ![2, 3].includes(this.#pending.readUInt32BE(4))) {
        throw new Error('it is not a pack');
      }
      this.#left = this.#pending.readUInt32BE(8);
      this.#take(12);
    }
    while (this.#left > 0 && this.#next()) this.#left--;
    if (this.#left === 0) this.#end();
  }

  /** Reads one commit. Returns false if there is none, or if more bytes are needed. */
  #next(): boolean {
    const header = readHeader(this.#pending);
    if (!header) {
      if (this.#pending.length > longestHeader) throw new Error('an object has no size');
      return false;
    }
    const base =
      header.kind === 'ofs-delta'
        ? this.#byOffset.get(this.#offset - header.distance)
        : this.#byId.get(header.base);
    const isDelta = header.kind === 'ofs-delta' || header.kind === 'ref-delta';
    const isCommit = header.kind === 'commit' || (isDelta && base !== undefined);
    if (!isCommit || header.size > largest) return this.#end();
    const inflated = this.#inflate(header.length, header.size);
    if (!inflated) return false;
    let { content } = inflated;
    if (base) {
      if (resultSize(content) > largest) return this.#end();
      content = applyDelta(base, content);
    }
    this.#bytes += content.length;
    if (this.#bytes > mostBytes || this.history.size >= mostCommits) return this.#end();
    const id = objectId('commit', content);
    this.#byOffset.set(this.#offset, content);
    this.#byId.set(id, content);
    this.history.set(id, parentsOf(content));
    this.#take(header.length + inflated.used);
    return true;
  }

  #inflate(from: number, size: number) {
    try {
      return inflateObject(this.#pending.subarray(from), size);
    } catch (error) {
      const isShort = (error as { code?: unknown }).code === 'Z_BUF_ERROR';
      // More than a stored commit can take: this is no stream of zlib.
      if (!isShort || this.#pending.length > 2 * largest) throw error;
      return undefined;
    }
  }

  #take(bytes: number): void {
    this.#pending = this.#pending.subarray(bytes);
    this.#offset += bytes;
  }

  #end(): false {
    this.done = true;
    this.#pending = Buffer.alloc(0);
    this.#waiting = [];
    this.#byOffset.clear();
    this.#byId.clear();
    return false;
  }
}

function parentsOf(commit: Buffer): string[] {
  const parents: string[] = [];
  if (!/^tree [0-9a-f]{40}\n$/.test(commit.toString('latin1', 0, 46))) return parents;
  for (let at = 46; commit.toString('latin1', at, at + 7) === 'parent '; at += 48) {
    parents.push(commit.toString('latin1', at + 7, at + 47));
  }
  return parents;
}

/**
 * Whether `commit` descends from `old`. If not, `unknown` has the ancestors of which `history` does not
 * know the parents.
 */
export function descent(
  commit: string,
  old: string,
  history: History,
): { proven: boolean; unknown: string[] } {
  const seen = new Set<string>([commit]);
  const unknown: string[] = [];
  for (const id of seen) {
    if (id === old) return { proven: true, unknown: [] };
    const parents = history.get(id);
    if (!parents) unknown.push(id);
    for (const parent of parents ?? []) seen.add(parent);
  }
  return { proven: false, unknown };
}
