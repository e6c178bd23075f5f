/** The CLI as a command: its path, its version check and the flags of a worker. */
import { execFile } from 'node:child_process';
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import { causeOfSignal, causeOfStartError, isPassingStart } from './start-error.ts';

const run = promisify(execFile);
const forkFlag = 'resume-session-at';

/**
 * Earlier versions do not report the cost of a single turn (`model_usage_since_last_result`).
 * Versions before 2.1.248 run a leading `/command` of a prompt and read the files that a prompt
 * mentions.
 */
const oldestSupported = [2, 1, 309] as const;

const install =
  'npm install -g @anthropic-ai/claude-code@2.1.330, or let init install it (BERTH_CLAUDE_TARBALL); see docs/containers.md';

/**
 * The version that the executable at `path` reports.
 * @throws BerthError `cli_unavailable` if it cannot be run or is too old
 */
export async function checkVersion(
  path: string,
  environment: Record<string, string>,
  signal?: AbortSignal,
): Promise<string> {
  let output: string;
  try {
    ({ stdout: output } = await run(path, ['--version'], {
      env: environment,
      timeout: 30_000,
      ...(signal ? { signal } : {}),
    }));
  } catch (error) {
    signal?.throwIfAborted();
    const cause = whyNot(path, error);
    const remedy = isPassingStart(error)
      ? ''
      : `; install it (${install}) or set BERTH_CLAUDE_PATH`;
    throw new BerthError(
      'cli_unavailable',
      `cannot run the Claude Code CLI at ${path}: ${cause}${remedy}`,
      { cause: error },
    );
  }
  const match = /(\d+)\.(\d+)\.(\d+)/.exec(output);
  const version = match?.slice(1).map(Number);
  if (!version || !atLeast(version, oldestSupported)) {
    throw new BerthError(
      'cli_unavailable',
      `cannot use the Claude Code CLI at ${path}: it is ${JSON.stringify(output.trim().slice(0, 80))}, but ${oldestSupported.join('.')} or later is required; install one (${install})`,
    );
  }
  return version.join('.');
}

/**
 * Whether the CLI has the hidden flag by which a fork ends at an earlier message. The flag alone is an error, which names
 * what is missing beside it or calls the flag unknown; so nothing is run.
 * @throws Error if the CLI cannot be run; the signal's reason
 */
export async function hasForkFlag(
  path: string,
  environment: Record<string, string>,
  signal: AbortSignal,
): Promise<boolean> {
  const running = run(path, ['-p', `--${forkFlag}=none`], {
    env: environment,
    timeout: 30_000,
    signal,
  });
  running.child.stdin?.end();
  try {
    await running;
    return true;
  } catch (error) {
    signal.throwIfAborted();
    const { code, stderr = '' } = error as { code?: unknown; stderr?: string };
    if (typeof code !== 'number') throw error;
    return !/unknown option/i.test(stderr);
  }
}

/** Whether the error of `checkVersion` means that the program does not exist. */
export function isAbsent(error: Error): boolean {
  return systemCode(error.cause) === 'ENOENT';
}

function whyNot(path: string, error: unknown): string {
  const code = systemCode(error);
  if (code === 'ENOENT' && existsSync(path)) {
    return 'its libraries are missing; a glibc binary does not run on musl, and a musl binary does not run on glibc (Debian)';
  }
  if (code === 'ENOENT') return 'the program does not exist';
  if (isOfAnotherMachine(path)) return `it is not a program for this machine (${process.arch})`;
  if (!isPassingStart(error)) return messageOf(error);
  const { signal } = error as { signal?: string };
  return causeOfStartError(error) ?? `it ${causeOfSignal(signal)}`;
}

/** The machine in the header of a program (ELF); the C library passes such a program to a shell. */
function isOfAnotherMachine(path: string): boolean {
  const own = { x64: 0x3e, arm64: 0xb7 }[process.arch as string];
  const header = Buffer.alloc(20);
  try {
    const file = openSync(path, 'r');
    try {
      readSync(file, header);
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
  const isProgram = header.subarray(0, 4).toString('latin1') === '\x7fELF';
  return isProgram && own !== undefined && header.readUInt16LE(18) !== own;
}

function atLeast(version: readonly number[], minimum: readonly number[]): boolean {
  for (const [index, part] of minimum.entries()) {
    const own = version[index] ?? 0;
    if (own !== part) return own > part;
  }
  return true;
}

/** The parameters of a process: a profile, the overrides of a request, and the session. */
export interface CliOptions {
  /** The session to continue; absent starts a new session. */
  resume?: string | undefined;
  /** With `resume`: start a new session with the history of the resumed session. */
  fork?: boolean;
  /** With `fork`: the id of the last message to copy (seen with the CLI 2.1.330; not in its help). */
  forkAt?: string | undefined;
  /** The id of the new session, of this process or of the fork. */
  sessionId?: string | undefined;
  /** Days after which the CLI removes unused transcripts. */
  cleanupPeriodDays?: number | undefined;
  model?: string | undefined;
  permissionMode?: string | undefined;
  /** Replaces the CLI's own system prompt. */
  systemPrompt?: string | undefined;
  appendSystemPrompt?: string | undefined;
  /** With `resume`: use these instructions, not those with which the session began. */
  freshInstructions?: boolean;
  /** The available built-in tools; absent means all. */
  availableTools?: readonly string[] | undefined;
  /**
   * The only rules that allow tools, instead of those of settings.json; absent keeps those of
   * settings.json.
   */
  allowRules?: readonly string[] | undefined;
  /** Calls that match one of these rules are asked about: see permission.ts. */
  askRules?: readonly string[] | undefined;
  /** No hook of the configuration directory runs: of settings, skills, agents or plugins. */
  noHooks?: boolean;
  /** Deny rules in addition to those of settings.json. */
  denyRules?: readonly string[];
  mcpServers?: Readonly<Record<string, unknown>>;
  /** Only these MCP servers, and none of the configuration directory. */
  strictMcp?: boolean;
  /** The maximum number of model calls in one prompt. */
  maxTurns?: number | undefined;
  /** The US dollars that the process may spend since its start or its last `/clear`. */
  maxBudgetUsd?: number | undefined;
  /** A JSON Schema; each answer then has `structured_output`. */
  outputSchema?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * The flags of a worker. All parameters reach the CLI by flags and never by files, because programs
 * that the CLI runs can write files on the volume. Values follow an equals sign, so that no value
 * is parsed as a flag.
 */
export function cliArguments(options: CliOptions = {}): string[] {
  const { resume, fork, availableTools, denyRules = [], mcpServers = {} } = options;
  const flag = (name: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [`--${name}=${value}`];
  return [
    '-p',
    '--input-format=stream-json',
    '--output-format=stream-json',
    '--verbose',
    '--include-partial-messages',
    '--include-hook-events',
    // Settings, hooks and MCP servers found in a working directory are not trusted.
    '--setting-sources=user',
    ...(resume === undefined ? [] : ['--resume', resume]),
    ...(resume !== undefined && fork ? ['--fork-session'] : []),
    ...(resume !== undefined && fork ? flag(forkFlag, options.forkAt) : []),
    ...flag('session-id', options.sessionId),
    ...flag('settings', settingsOf(options)),
    ...flag('model', options.model),
    ...flag('permission-mode', options.permissionMode),
    ...flag('system-prompt', options.systemPrompt),
    ...flag('append-system-prompt', options.appendSystemPrompt),
    // The CLI keeps the instructions of a session's first turn and ignores later instructions.
    ...(resume !== undefined && options.freshInstructions ? ['--system-prompt-snapshot=off'] : []),
    ...flag('tools', availableTools?.join(',')),
    ...flag('managed-settings', managedSettings(options)),
    ...flag('permission-prompt-tool', options.askRules && 'stdio'),
    ...denyRules.map((rule) => `--disallowedTools=${rule}`),
    ...(Object.keys(mcpServers).length > 0
      ? [`--mcp-config=${JSON.stringify({ mcpServers })}`]
      : []),
    ...(options.strictMcp ? ['--strict-mcp-config'] : []),
    ...flag('max-turns', options.maxTurns),
    ...flag('max-budget-usd', options.maxBudgetUsd),
    ...flag('json-schema', options.outputSchema && JSON.stringify(options.outputSchema)),
  ];
}

function settingsOf({ cleanupPeriodDays }: CliOptions): string | undefined {
  return cleanupPeriodDays === undefined ? undefined : JSON.stringify({ cleanupPeriodDays });
}

/**
 * Settings that files on the volume cannot override. `--allowedTools` would only add to the rules
 * of settings.json. From managed settings in a flag, the CLI (2.1.330) accepts rules and no hooks.
 */
function managedSettings({
  allowRules: allow,
  askRules: ask,
  noHooks,
}: CliOptions): string | undefined {
  const settings = {
    ...(allow && { allowManagedPermissionRulesOnly: true }),
    ...((allow || ask) && { permissions: { ...(allow && { allow }), ...(ask && { ask }) } }),
    ...(noHooks && { allowManagedHooksOnly: true }),
  };
  return Object.keys(settings).length > 0 ? JSON.stringify(settings) : undefined;
}
