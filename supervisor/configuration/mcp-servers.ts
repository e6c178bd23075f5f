/**
 * The MCP servers in `.claude.json`, of the user and of each project, as they were at the start. The rest of the
 * file belongs to the CLI, which writes it all the time, so only these entries are compared and restored.
 * Invariants: the file is untrusted and bounded, and no symlink is followed. A file that is not JSON has no
 * servers: the CLI does not use it either.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { textOfSettings } from '../../shared/cli-settings.ts';
import { isOfThisTick, statusAt } from './entries.ts';

export const serversFile = '.claude.json';

/** In bytes; the file grows to a few megabytes. */
const largest = 32 * 1024 * 1024;

type Fields = Record<string, unknown>;

/** `restored` is the content with the servers of the start; without it the file must go. */
export interface ChangedServers {
  /** When the file was changed: milliseconds since 1970. */
  changed: number;
  restored?: Buffer;
}

export class McpServers {
  readonly #path: string;
  #user: unknown;
  readonly #projects = new Map<string, unknown>();
  /** Inode data of the file that was right at the last look. */
  #right: string | undefined;

  constructor(configDirectory: string) {
    this.#path = `${configDirectory}/${serversFile}`;
  }

  /** The current servers must stay from now on. */
  start(): void {
    const content = this.#read();
    this.#user = content?.mcpServers;
    for (const [path, project] of Object.entries(fieldsOf(content?.projects) ?? {})) {
      const servers = fieldsOf(project)?.mcpServers;
      if (!isNone(servers)) this.#projects.set(path, servers);
    }
  }

  /** Undefined if the servers are those of the start. */
  look(): ChangedServers | undefined {
    const status = statusAt(this.#path);
    const mark = status && markOf(status);
    if (!status || mark === this.#right) return undefined;
    if (!status.isFile() || status.size > largest) return { changed: status.ctimeMs };
    const tellsChanges = !isOfThisTick(status);
    const content = this.#read();
    if (content && this.#correct(content)) {
      const restored = Buffer.from(`${JSON.stringify(content, undefined, 2)}\n`);
      return { changed: status.ctimeMs, restored };
    }
    this.#right = tellsChanges ? mark : undefined;
    return undefined;
  }

  /** @returns whether something had to be corrected */
  #correct(content: Fields): boolean {
    const projects = fieldsOf(content.projects) ?? {};
    const wrong = [
      setServers(content, this.#user),
      ...Object.entries(projects).map(([path, project]) => {
        const fields = fieldsOf(project);
        return fields !== undefined && setServers(fields, this.#projects.get(path));
      }),
    ];
    return wrong.includes(true);
  }

  #read(): Fields | undefined {
    try {
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
      const file = openSync(this.#path, flags);
      try {
        const status = fstatSync(file);
        if (!status.isFile() || status.size > largest) return undefined;
        return fieldsOf(JSON.parse(textOfSettings(readFileSync(file))));
      } finally {
        closeSync(file);
      }
    } catch {
      return undefined;
    }
  }
}

/** @returns whether the servers were others */
function setServers(fields: Fields, wanted: unknown): boolean {
  if (isNone(wanted) && isNone(fields.mcpServers)) return false;
  if (JSON.stringify(fields.mcpServers) === JSON.stringify(wanted)) return false;
  if (wanted === undefined) delete fields.mcpServers;
  else fields.mcpServers = wanted;
  return true;
}

function isNone(servers: unknown): boolean {
  return servers === undefined || Object.keys(fieldsOf(servers) ?? { other: 1 }).length === 0;
}

function markOf({ ino, size, mtimeMs, ctimeMs }: Stats): string {
  return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
}

function fieldsOf(value: unknown): Fields | undefined {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Fields) : undefined;
}
