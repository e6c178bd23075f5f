/**
 * git's trees: read from objects into a flat list. A list can also be proved without any object, by
 * rebuilding the ids of the trees from the list.
 * Invariants: each result was checked against the id of the commit. So a forged record on the volume,
 * where the CLI can write, cannot add a file that the commit does not have.
 */
import { setImmediate } from 'node:timers/promises';
import { BerthError } from '../../shared/errors.ts';
import { objectId } from './pack-format.ts';

export type Mode = '100644' | '100755' | '120000' | '160000';

export interface TreeEntry {
  mode: Mode;
  /** The id of the blob, or of the commit of a submodule. */
  oid: string;
}

/** Paths with slashes, relative to the root; as the tree has them, safe or not. */
export type Tree = Map<string, TreeEntry>;

export interface Commit {
  id: string;
  /** The commit's own text, as git has it. */
  text: Buffer;
  tree: Tree;
}

export type ReadObject = (oid: string) => Promise<{ type: string; content: Buffer }>;

const deepest = 64;
const mostEntries = 100_000;

/**
 * The whole tree of a commit, given the commit's own text.
 * @throws BerthError `remote_refused` if it is larger or deeper than berth serves
 */
export async function readTree(commit: Buffer, read: ReadObject): Promise<Tree> {
  const tree: Tree = new Map();
  // A few trees that name each other, without any file, can have billions of entries.
  let seen = 0;
  const walk = async (oid: string, prefix: string, depth: number): Promise<void> => {
    const { type, content } = await read(oid);
    if (type !== 'tree') throw new Error(`the object ${oid} is a ${type} instead of a tree`);
    for (const { mode, name, oid: entry } of parseTree(content)) {
      const path = prefix + name;
      seen += 1;
      if (seen > mostEntries) throw beyond('it has more than 100,000 files and directories');
      // Objects may be in memory: deadlines and heartbeats get their turn.
      if (seen % 1_000 === 0) await setImmediate();
      if (mode === '40000') {
        if (depth >= deepest)
          throw beyond(`its directory ${path} is more than ${deepest} levels deep`);
        await walk(entry, `${path}/`, depth + 1);
      } else {
        tree.set(path, { mode: knownMode(mode), oid: entry });
      }
    }
  };
  await walk(treeOf(commit), '', 0);
  return tree;
}

/** This is not damage: the objects were checked, so another fetch would return the same. */
function beyond(cause: string): BerthError {
  return new BerthError(
    'remote_refused',
    `cannot use the repository: ${cause}; remove such files from it`,
  );
}

/** The tree's id in the text of a commit. */
function treeOf(commit: Buffer): string {
  const id = /^tree ([0-9a-f]{40})\n/.exec(commit.toString('latin1'))?.[1];
  if (id === undefined) throw new Error('the commit names no tree');
  return id;
}

function* parseTree(content: Buffer): Generator<{ mode: string; name: string; oid: string }> {
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at);
    const end = content.indexOf(0, space);
    if (space < 0 || end < 0 || end + 21 > content.length) throw new Error('the tree is torn');
    const mode = content.toString('latin1', at, space).replace(/^0+/, '');
    const name = content.toString('utf8', space + 1, end);
    yield { mode, name, oid: content.toString('hex', end + 1, end + 21) };
    at = end + 21;
  }
}

/** git writes four modes. Old tools wrote other modes for files; they are read as git reads them. */
function knownMode(mode: string): Mode {
  if (mode === '120000' || mode === '160000') return mode;
  return Number.parseInt(mode, 8) & 0o100 ? '100755' : '100644';
}

/** Whether `tree` is equal to the tree of the commit with this id and text, entry by entry. */
export function proves(commitId: string, commit: Buffer, tree: Tree): boolean {
  try {
    return objectId('commit', commit) === commitId && rebuild(tree) === treeOf(commit);
  } catch {
    return false;
  }
}

/** The entries of one directory by name, with the entries of its subdirectories. */
type Directory = Map<string, TreeEntry | Directory>;

function rebuild(tree: Tree): string {
  const root: Directory = new Map();
  let directory = root;
  let current = '';
  for (const [path, entry] of tree) {
    const slash = path.lastIndexOf('/');
    const parent = slash < 0 ? '' : path.slice(0, slash);
    // Neighbouring entries are usually in the same directory.
    if (parent !== current) {
      directory = directoryAt(root, parent);
      current = parent;
    }
    directory.set(path.slice(slash + 1), entry);
  }
  return treeId(root);
}

/** @throws Error if a file has the name of a directory */
function directoryAt(root: Directory, path: string): Directory {
  let directory = root;
  if (path === '') return directory;
  for (const part of path.split('/')) {
    let next = directory.get(part);
    if (next === undefined) {
      next = new Map();
      directory.set(part, next);
    }
    if (!(next instanceof Map)) throw new Error(`${path} is a file and a directory`);
    directory = next;
  }
  return directory;
}

function treeId(directory: Directory): string {
  const rows: { key: string; mode: string; oid: string }[] = [];
  let size = 0;
  for (const [name, value] of directory) {
    const isDirectory = value instanceof Map;
    const mode = isDirectory ? '40000' : value.mode;
    const oid = isDirectory ? treeId(value) : value.oid;
    // One code unit a byte, so that strings compare like their bytes. git sorts a directory as if its
    // name ended in a slash.
    const bytes = Buffer.from(name).toString('latin1');
    rows.push({ key: isDirectory ? `${bytes}/` : bytes, mode, oid });
    size += mode.length + bytes.length + 22;
  }
  rows.sort((a, b) => (a.key < b.key ? -1 : 1));
  const content = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { key, mode, oid } of rows) {
    const name = mode === '40000' ? key.slice(0, -1) : key;
    at += content.write(`${mode} ${name}\0`, at, 'latin1');
    at += content.write(oid, at, 'hex');
  }
  return objectId('tree', content.subarray(0, at));
}
