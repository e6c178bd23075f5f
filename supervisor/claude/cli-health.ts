/**
 * What a CLI process reports of the things that it was to load or to run: MCP servers and plugins (in the
 * init message of each turn, and in the answer to `mcp_status`), and hooks (when each one has ended).
 * Always holds: the configuration of a server is never kept, for it holds secrets; each text is bounded.
 */
import { z } from 'zod';
import type { Expected } from './expected.ts';
import type { HookRun } from './hooks.ts';

export const healthKinds = ['mcp_server', 'plugin', 'skill', 'hook'] as const;

export type HealthKind = (typeof healthKinds)[number];

/** One thing, and what is wrong with it; undefined if nothing is. */
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

/** Of the init message. */
export interface Loaded {
  mcpServers: McpServer[];
  /** As `name@marketplace`. */
  plugins: string[];
  skills: string[];
  pluginErrors: { plugin: string; message: string }[];
  /** Where the API key comes from: `ANTHROPIC_API_KEY`, `apiKeyHelper` ...; `none` with another login. */
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

/** Of the answer to the control request `mcp_status`. @throws Error if it has another shape */
export function readMcpStatus(answer: unknown): McpServer[] {
  return statusAnswer.parse(answer).mcpServers;
}

/** Of these, a hook runs before the turns: what it has done holds for all of them. */
const beforeTurns = /^(SessionStart|Setup)\b/;

export class CliHealth {
  readonly #servers = new Map<string, McpServer>();
  #loaded: Loaded | undefined;
  #expected: Expected = { plugins: [], skills: [] };
  readonly #hooks = new Map<string, string | undefined>();

  /** A turn begins. */
  turnBegins(): void {
    for (const name of this.#hooks.keys()) if (!beforeTurns.test(name)) this.#hooks.delete(name);
  }

  /** What it must have loaded, as its configuration was at its start. */
  expect(expected: Expected): void {
    this.#expected = expected;
  }

  loaded(loaded: Loaded): void {
    this.serversAre(loaded.mcpServers);
    this.#loaded = loaded;
  }

  /** The init message has no errors: what `mcp_status` said of one that is no better stays. */
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

  /** Undefined if the CLI knows none of that name. */
  server(name: string): McpServer | undefined {
    return this.#servers.get(name);
  }

  /** Whether a server has no connection and `mcp_status` could say why. */
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

  /** Nothing before the first init message. */
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
  'settings.json enables it, and the CLI did not load it: its marketplace cannot be reached or does not have it';
const unreadable = 'the CLI left it out: its SKILL.md needs a front matter with a description';

/** One that a person has switched off is as it should be. */
function problemOf({ status, error }: McpServer): string | undefined {
  if (status === 'connected' || status === 'disabled') return undefined;
  if (status === 'pending') return 'it has not answered yet (pending)';
  if (status === 'needs-auth') return 'it wants a login (needs-auth)';
  return error ? `${status}: ${error}` : status;
}
