/**
 * The health of what a CLI process loads and runs: MCP servers and plugins (from the init message
 * of each turn, and the answer to `mcp_status`), and hooks (when each hook has ended).
 * Invariants: the configuration of a server is never kept, because it holds secrets. Each text is
 * bounded.
 */
import { z } from 'zod';
import type { ExpectedExtensions } from './expected-extensions.ts';
import type { HookRun } from './hooks.ts';

export const healthKinds = ['mcp_server', 'plugin', 'skill', 'hook'] as const;

export type HealthKind = (typeof healthKinds)[number];

/** One component and its problem; undefined if it has none. */
export interface HealthReport {
  kind: HealthKind;
  name: string;
  problem: string | undefined;
}

export interface McpServer {
  name: string;
  /** `connected`, `pending`, `failed`, `needs-auth` or `disabled`. */
  status: string;
  error: string | undefined;
}

/** The relevant parts of the init message. */
export interface Loaded {
  mcpServers: McpServer[];
  /** As `name@marketplace`. */
  plugins: string[];
  skills: string[];
  pluginErrors: { plugin: string; message: string }[];
  /**
   * The source of the API key: `ANTHROPIC_API_KEY`, `apiKeyHelper` ...; `none` with another login.
   */
  keySource: string;
}

const longestText = 300;
const most = 100;
const text = z.string().transform((value) => value.replaceAll(/\s+/g, ' ').slice(0, longestText));
const list = <T extends z.ZodType>(item: T) =>
  z
    .array(item.nullable().catch(null))
    .catch([])
    .transform((all) => all.filter((each) => each !== null).slice(0, most));

const server = z
  .object({ name: text, status: text, error: text.optional().catch(undefined) })
  .transform(({ name, status, error }): McpServer => ({ name, status, error }));

export const loadedShape = z
  .object({
    mcp_servers: list(server),
    plugins: list(z.object({ source: text })),
    skills: z.array(z.string()).catch([]),
    plugin_errors: list(z.object({ plugin: text, message: text })),
    apiKeySource: text.catch('none'),
  })
  .transform(
    ({ mcp_servers, plugins, skills, plugin_errors, apiKeySource }): Loaded => ({
      mcpServers: mcp_servers,
      plugins: plugins.map(({ source }) => source),
      skills,
      pluginErrors: plugin_errors,
      keySource: apiKeySource,
    }),
  );

const statusAnswer = z.object({ mcpServers: list(server) });

/** Parses the answer to the control request `mcp_status`. @throws Error if it has another shape */
export function readMcpStatus(answer: unknown): McpServer[] {
  return statusAnswer.parse(answer).mcpServers;
}

/** Hooks of these events run before the turns, so their result applies to all turns. */
const beforeTurns = /^(SessionStart|Setup)\b/;

export class CliHealth {
  readonly #servers = new Map<string, McpServer>();
  #loaded: Loaded | undefined;
  #expected: ExpectedExtensions = { plugins: [], skills: [] };
  readonly #hooks = new Map<string, string | undefined>();

  /** Notes that a turn begins. */
  turnBegins(): void {
    for (const name of this.#hooks.keys()) if (!beforeTurns.test(name)) this.#hooks.delete(name);
  }

  /** Sets what the process must have loaded, by its configuration at its start. */
  expect(expected: ExpectedExtensions): void {
    this.#expected = expected;
  }

  loaded(loaded: Loaded): void {
    this.serversAre(loaded.mcpServers);
    this.#loaded = loaded;
  }

  /**
   * The init message has no error texts: the error from `mcp_status` stays for a server that is not
   * better.
   */
  serversAre(servers: readonly McpServer[]): void {
    const before = new Map(this.#servers);
    this.#servers.clear();
    for (const { name, status, error } of servers) {
      const known = before.get(name);
      const kept = known?.status === status ? known.error : undefined;
      this.#servers.set(name, { name, status, error: error ?? kept });
    }
  }

  hookEnded({ name, outcome, exitCode, said }: HookRun): void {
    const why = outcome === 'timed_out' ? 'it took too long' : `exit code ${exitCode ?? 'unknown'}`;
    const problem = outcome === 'done' ? undefined : `${why}${said ? `: ${said}` : ''}`;
    if (this.#hooks.size < most || this.#hooks.has(name)) this.#hooks.set(name, problem);
  }

  /** Undefined if the CLI knows no server of that name. */
  server(name: string): McpServer | undefined {
    return this.#servers.get(name);
  }

  /** Whether a server is not connected and `mcp_status` could return the reason. */
  get unexplained(): boolean {
    return [...this.#servers.values()].some(
      (each) => each.error === undefined && problemOf(each) !== undefined,
    );
  }

  get reports(): HealthReport[] {
    const servers = [...this.#servers.values()].map((each) => ({
      kind: 'mcp_server' as const,
      name: each.name,
      problem: problemOf(each),
    }));
    const hooks = [...this.#hooks].map(([name, problem]) => ({
      kind: 'hook' as const,
      name,
      problem,
    }));
    return [...servers, ...this.#missing(), ...hooks];
  }

  /** Empty before the first init message. */
  #missing(): HealthReport[] {
    if (!this.#loaded) return [];
    const { plugins, skills, pluginErrors } = this.#loaded;
    const said = new Map(pluginErrors.map(({ plugin, message }) => [plugin, message]));
    const expected = [...new Set([...this.#expected.plugins, ...said.keys()])];
    return [
      ...expected.map((name) => ({
        kind: 'plugin' as const,
        name,
        problem: said.get(name) ?? (plugins.includes(name) ? undefined : unreachable),
      })),
      ...this.#expected.skills.map((name) => ({
        kind: 'skill' as const,
        name,
        problem: skills.includes(name) ? undefined : unreadable,
      })),
    ];
  }
}

const unreachable =
  'settings.json enables it, but the CLI did not load it: its marketplace cannot be reached or does not have it';
const unreadable = 'the CLI did not load it: its SKILL.md needs a front matter with a description';

/** The problem of a server. A server that a person has disabled has no problem. */
function problemOf({ status, error }: McpServer): string | undefined {
  if (status === 'connected' || status === 'disabled') return undefined;
  if (status === 'pending') return 'it has not answered yet (pending)';
  if (status === 'needs-auth') return 'it needs a login (needs-auth)';
  return error ? `${status}: ${error}` : status;
}
