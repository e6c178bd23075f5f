/**
 * Finds and removes the CLI's files of a session, by its id. As seen with the CLI 2.1.330:
 *   projects/<directory>/<id>.jsonl      the conversation itself
 *   projects/<directory>/<id>/           subagents/, tool-results/ (outputs too large for the conversation)
 *   session-env/<id>/                    made when the Bash tool is used
 *   file-history/<id>/, tasks/<id>/, todos/<id>*, debug/<id>.txt   other modes and older versions
 *   $TMPDIR/claude-<uid>/<directory>/<id>/                         outputs of background commands
 * Invariants: a removed file has the session's id as its name and is in one of these directories. No
 * symlink is followed.
 */
import { lstat, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isAbsent } from '../../shared/errors.ts';
import { removeTree, sizeOfTree } from '../../shared/remove-tree.ts';

/** A directory of the CLI for each working directory, with its transcripts and its memory. */
const projects = 'projects';
const memory = 'memory';
const byId = ['session-env', 'file-history', 'tasks', 'todos', 'debug'];

export interface TranscriptsOptions {
  /** The CLI's configuration directory. */
  configDirectory: string;
  /** The CLI's TMPDIR. */
  temporaryDirectory: string;
}

export interface TranscriptSizes {
  /** Bytes of each session's conversation, by its id in lower case. */
  bytes: Map<string, number>;
  /** The first error of a directory that cannot be read: then sessions may be missing. */
  failure: unknown;
}

export class Transcripts {
  readonly #config: string;
  readonly #temporary: string;

  constructor({ configDirectory, temporaryDirectory }: TranscriptsOptions) {
    this.#config = configDirectory;
    this.#temporary = join(temporaryDirectory, `claude-${process.getuid?.() ?? 0}`);
  }

  /** The sizes of all conversations, in one walk. @throws the signal's reason */
  async sizes(signal?: AbortSignal): Promise<TranscriptSizes> {
    const bytes = new Map<string, number>();
    let failure: unknown;
    const onFailure = (error: unknown): [] => {
      failure ??= error;
      return [];
    };
    for (const project of await directoriesIn(join(this.#config, projects)).catch(onFailure)) {
      for (const entry of await entriesOf(project).catch(onFailure)) {
        signal?.throwIfAborted();
        const id = entry.name.replace(/\.jsonl$/, '').toLowerCase();
        if (!isId(id)) continue;
        const size = await sizeOfTree(join(project, entry.name), signal);
        bytes.set(id, (bytes.get(id) ?? 0) + size);
      }
    }
    return { bytes, failure };
  }

  /** The path of a session's conversation; undefined if the CLI has none, or if it cannot be found. */
  find(id: string): Promise<string | undefined> {
    return this.locate(id).catch(() => undefined);
  }

  /**
   * The path of a session's conversation; undefined if the CLI has none.
   * @throws Error of the system if a directory cannot be read, where the conversation may be
   */
  async locate(id: string): Promise<string | undefined> {
    const root = join(this.#config, projects);
    if (!(await lstat(root).catch(ifAbsent))?.isDirectory()) return undefined;
    const entries = await readdir(root, { withFileTypes: true });
    let failure: unknown;
    for (const { name } of entries.filter((entry) => entry.isDirectory())) {
      const path = join(root, name, `${id}.jsonl`);
      try {
        if ((await lstat(path).catch(ifAbsent))?.isFile()) return path;
      } catch (error) {
        failure = error;
      }
    }
    if (failure !== undefined) throw failure;
    return undefined;
  }

  /** Bytes of one session's conversation; 0 if there is none. Unreadable parts count as 0. */
  async sizeOf(id: string): Promise<number> {
    let total = 0;
    for (const project of await directoriesIn(join(this.#config, projects)).catch(() => [])) {
      for (const name of [`${id}.jsonl`, id]) total += await sizeOfTree(join(project, name));
    }
    return total;
  }

  /**
   * Removes everything that the CLI keeps of a session; an absent file is no error.
   * @param alone the session's working directory is removed too; so the CLI's files of that
   * directory are removed, unless another session has a transcript there
   * @throws Error of the system if a part cannot be removed, or a directory cannot be read, where a
   * part may be
   */
  async remove(id: string, alone: boolean): Promise<void> {
    if (!isId(id.toLowerCase())) return;
    for (const project of await directoriesIn(join(this.#config, projects))) {
      const removed = await removeAll([join(project, `${id}.jsonl`), join(project, id)]);
      if (removed && alone) await removeEmptyProject(project);
    }
    for (const place of byId) {
      const directory = join(this.#config, place);
      const names = (await entriesOf(directory)).map(({ name }) => name);
      await removeAll(
        names.filter((name) => belongsTo(name, id)).map((name) => join(directory, name)),
      );
    }
    for (const project of await directoriesIn(this.#temporary)) {
      // The CLI creates it again; other working directories do not belong to this session.
      if (await removeAll([join(project, id)])) await rmdir(project).catch(() => undefined);
    }
  }
}

function ifAbsent(error: unknown): undefined {
  if (!isAbsent(error)) throw error;
}

function isId(name: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(name);
}

/** `<id>`, `<id>.txt`, `<id>-agent-<other>.json`. */
function belongsTo(name: string, id: string): boolean {
  return name === id || name.startsWith(`${id}.`) || name.startsWith(`${id}-`);
}

/** @returns whether one of them existed */
async function removeAll(paths: readonly string[]): Promise<boolean> {
  let found = false;
  for (const path of paths) {
    if (!(await lstat(path).catch(ifAbsent))) continue;
    found = true;
    await removeTree(path);
  }
  return found;
}

async function removeEmptyProject(project: string): Promise<void> {
  const names = await readdir(project).catch(() => [memory, '']);
  if (names.every((name) => name === memory)) await removeTree(project);
}

/** The real directories in `parent`, which must be a real directory itself. */
async function directoriesIn(parent: string): Promise<string[]> {
  const entries = await entriesOf(parent);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(parent, name));
}

/** Empty if it is not a real directory. @throws Error of the system if it cannot be read */
async function entriesOf(directory: string) {
  if (!(await lstat(directory).catch(ifAbsent))?.isDirectory()) return [];
  return (await readdir(directory, { withFileTypes: true }).catch(ifAbsent)) ?? [];
}
