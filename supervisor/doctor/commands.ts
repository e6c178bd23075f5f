/**
 * Checks the programs that the configuration makes the CLI start: MCP servers, hooks, the status
 * line, the helper for keys. Each program must exist, and each HTTP server must be reachable.
 * Nothing is run.
 * Invariant: files on the volume are untrusted, bounded, and never shown, except the name of a
 * program or a host.
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

/** The maximum number of commands. */
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
  /** Where the command is configured: `settings.json: hook PreToolUse`. */
  from: string;
  /** A command line for a shell. */
  line?: string;
  /** The path or name of a program. */
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
    if (!target) return failed(from, 'its url is not valid', 'correct it');
    const finding = await checkReachable({ ...target, why: 'an MCP server' }, environment, signal);
    return { ...finding, subject: from, detail: `${finding.subject}: ${finding.detail}` };
  }
  if (!program) {
    return warning(
      from,
      'the program that it starts cannot be determined',
      'check whether it works',
    );
  }
  const path = expand(program, config, environment);
  if (path === undefined) {
    return warning(from, `${program}: it depends on a variable`, 'check whether it works');
  }
  if (line !== undefined && builtins.has(path)) return ok(from, `${path} is built into the shell`);
  if (await isProgram(path, environment)) return ok(from, `${path} is there`);
  const remedy =
    'add it to the image (docs/containers.md), or remove the command from the configuration';
  return failed(from, `${path} does not exist, or cannot be run`, remedy);
}

/** The first program of a shell command line, if it can be determined without a shell. */
export function firstWord(line: string): string | undefined {
  let rest = line.trim();
  // Skips text before a command: assignments of variables, and keywords that open a block.
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

/** Commands that are built into every POSIX shell. */
const builtins = new Set(
  '[ . : [[ alias bg case cd command echo eval exec exit export false for function if kill printf pwd read return set shift source test times trap true type ulimit umask unset until wait while'.split(
    ' ',
  ),
);

/** Undefined if the text has unknown variables. */
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
      // The next directory may contain it.
    }
  }
  return false;
}
