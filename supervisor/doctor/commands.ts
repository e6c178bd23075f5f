/**
 * What the configuration has the CLI start: MCP servers, hooks, the status line, the helper for keys.
 * Each program must be there, and each server that is reached by HTTP reachable. Only looked for: nothing
 * is run. Always holds: what stands on the volume is untrusted, bounded, and never shown but for the
 * name of a program or a host.
 */
import { access, constants, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { textOfSettings } from '../../shared/cli-settings.ts';
import type { Environment } from '../../shared/config.ts';
import { messageOf } from '../../shared/errors.ts';
import { readFileBounded, readProvided } from '../../shared/files.ts';
import type { SupervisorConfig } from '../config.ts';
import { largestFile, readProfiles } from '../profiles/read.ts';
import { absent, type Finding, failed, ok, warning } from './check.ts';
import { checkReachable, hostOf } from './egress.ts';

/** So many are looked at. */
const most = 200;

const server = z.looseObject({ command: z.string().optional(), url: z.string().optional() });
const servers = z.record(z.string(), server).catch({});
const hook = z.looseObject({ type: z.string().optional(), command: z.string().optional() });
const settings = z.looseObject({
  hooks: z
    .record(z.string(), z.array(z.looseObject({ hooks: z.array(hook).catch([]) })).catch([]))
    .catch({}),
  statusLine: z.looseObject({ command: z.string().optional() }).optional().catch(undefined),
  apiKeyHelper: z.string().optional().catch(undefined),
});
const withServers = z.looseObject({ mcpServers: servers.default({}) });

interface Wanted {
  /** Where it stands: `settings.json: hook PreToolUse`. */
  from: string;
  /** For a shell. */
  line?: string;
  /** A program, as it is. */
  program?: string;
  url?: string;
}

export async function checkCommands(
  config: SupervisorConfig,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { configDirectory, inherited, profilesFile } = config;
  const wanted: Wanted[] = [];
  const findings: Finding[] = [];
  const take = async (name: string, read: () => Promise<Wanted[]>): Promise<void> => {
    try {
      wanted.push(...(await read()));
    } catch (error) {
      findings.push(
        failed(name, messageOf(error), 'correct the file, in the repository if it is there'),
      );
    }
  };
  const json = async (name: string): Promise<unknown> => {
    const content = await readFileBounded(join(configDirectory, name), 8 * 1024 ** 2);
    if (content === undefined) return {};
    try {
      return JSON.parse(textOfSettings(content));
    } catch {
      throw new Error('it is not valid JSON');
    }
  };
  await take('settings.json', async () => inSettings(settings.parse(await json('settings.json'))));
  for (const name of ['.mcp.json', '.claude.json']) {
    await take(name, async () => inServers(name, withServers.parse(await json(name)).mcpServers));
  }
  if (profilesFile !== undefined) {
    await take(profilesFile, async () => {
      const text = (await readProvided(profilesFile, largestFile))?.toString('utf8') ?? '';
      const { profiles } = readProfiles(text, profilesFile, config);
      return [...profiles.values()].flatMap(({ name, mcp }) =>
        inServers(`profile ${name}`, servers.parse(mcp.servers)),
      );
    });
  }
  const checked = wanted.slice(0, most).map((each) => checkOne(each, config, inherited, signal));
  const all = [...findings, ...(await Promise.all(checked))];
  return all.length > 0 ? all : [absent('configuration', 'it names no hooks and no MCP servers')];
}

function inSettings({ hooks, statusLine, apiKeyHelper }: z.infer<typeof settings>): Wanted[] {
  const from = (what: string): string => `settings.json: ${what}`;
  const wanted: Wanted[] = Object.entries(hooks).flatMap(([event, groups]) =>
    groups
      .flatMap((group) => group.hooks)
      .flatMap(({ command }) => (command ? [{ from: from(`hook ${event}`), line: command }] : [])),
  );
  if (statusLine?.command) wanted.push({ from: from('statusLine'), line: statusLine.command });
  if (apiKeyHelper) wanted.push({ from: from('apiKeyHelper'), line: apiKeyHelper });
  return wanted;
}

function inServers(from: string, all: z.infer<typeof servers>): Wanted[] {
  return Object.entries(all).map(([name, { command, url }]) => ({
    from: `${from}: MCP server ${name}`,
    ...(command ? { program: command } : {}),
    ...(url ? { url } : {}),
  }));
}

async function checkOne(
  { from, line, program = line && firstWord(line), url }: Wanted,
  config: SupervisorConfig,
  environment: Environment,
  signal: AbortSignal,
): Promise<Finding> {
  if (url !== undefined) {
    const target = hostOf(url);
    if (!target) return failed(from, 'its url is none', 'correct it');
    const finding = await checkReachable({ ...target, why: 'an MCP server' }, environment, signal);
    return { ...finding, subject: from, detail: `${finding.subject}: ${finding.detail}` };
  }
  if (!program) {
    return warning(from, 'which program it starts cannot be told', 'see whether it works');
  }
  const path = expand(program, config, environment);
  if (path === undefined) {
    return warning(from, `${program}: it depends on a variable`, 'see whether it works');
  }
  if (line !== undefined && builtins.has(path)) return ok(from, `${path} is the shell's own`);
  if (await isProgram(path, environment)) return ok(from, `${path} is there`);
  const remedy =
    'put it into the image (docs/containers.md), or take the command out of the configuration';
  return failed(from, `${path} is not there, or cannot be run`, remedy);
}

/** Of a line for a shell: what it runs first, if that can be told without a shell. */
export function firstWord(line: string): string | undefined {
  let rest = line.trim();
  // What comes before a command: values of variables, and the words that open a block.
  for (;;) {
    const before =
      /^(?:[A-Za-z_]\w*=(?:"[^"]*"|'[^']*'|[^\s"';|&]*)|[({!]|if|while|until|then|time)\s+/.exec(
        rest,
      );
    if (!before) break;
    rest = rest.slice(before[0].length);
  }
  const word = /^(?:"([^"`]+)"|'([^']+)'|([^\s"'`;|&<>()]+))/.exec(rest);
  return word?.[1] ?? word?.[2] ?? word?.[3];
}

/** What every POSIX shell does itself. */
const builtins = new Set(
  '[ . : [[ alias bg case cd command echo eval exec exit export false for function if kill printf pwd read return set shift source test times trap true type ulimit umask unset until wait while'.split(
    ' ',
  ),
);

/** Undefined if it has other variables than those that are known here. */
function expand(
  word: string,
  { configDirectory, workspaceDirectory }: SupervisorConfig,
  environment: Environment,
): string | undefined {
  const home = environment.HOME || homedir();
  const known: Record<string, string> = {
    HOME: home,
    CLAUDE_CONFIG_DIR: configDirectory,
    CLAUDE_PROJECT_DIR: workspaceDirectory,
  };
  const whole = word
    .replace(/^~(?=\/)/, home)
    .replace(/\$\{?([A-Za-z_]\w*)\}?/g, (all, name: string) => known[name] ?? all);
  return whole.includes('$') ? undefined : whole;
}

async function isProgram(path: string, environment: Environment): Promise<boolean> {
  const candidates =
    isAbsolute(path) || path.includes('/')
      ? [path]
      : (environment.PATH ?? '').split(delimiter).map((directory) => join(directory, path));
  for (const candidate of candidates) {
    try {
      await access(candidate, constants.X_OK);
      if ((await stat(candidate)).isFile()) return true;
    } catch {
      // The next directory may have it.
    }
  }
  return false;
}
