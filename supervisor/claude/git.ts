/**
 * Runs git for the workspaces of sessions: the only function of berth that does.
 * Invariants: git reads no configuration of the machine or of a user, runs no hook, no filter, no monitor, no pager and
 * no credential helper, asks nobody, and speaks HTTP alone, without a proxy: the gateway is on loopback. What a file
 * `config` of a repository sets is overridden where it could run a program. A run has a deadline; when the run is over,
 * git and all that git has started have ended.
 */
import { spawn } from 'node:child_process';
import { BerthError, type ErrorCode, messageOf } from '../../shared/errors.ts';
import { lowerPriority } from './cpu-priority.ts';

export interface GitRun {
  arguments: readonly string[];
  /** `GIT_DIR` and its kin. */
  environment?: Readonly<Record<string, string>>;
  /** Absolute. */
  workingDirectory: string;
  /** Configuration that outranks all other. */
  config?: Readonly<Record<string, string>>;
  /** Standard input; none if absent. */
  input?: string;
  /** Of standard input and output; `latin1` keeps each byte, for names of files. UTF-8 if absent. */
  encoding?: 'latin1' | 'utf8';
  /** Nobody waits for it: it runs at a lower CPU priority than the supervisor. */
  background?: boolean;
  /** Ends git. */
  signal: AbortSignal;
  /** Milliseconds; two minutes if absent. */
  timeout?: number;
  /** Bytes of standard output at most; 64 MiB if absent. */
  mostOutput?: number;
}

export interface GitEnd {
  /** The exit code; null if a signal ended git. */
  code: number | null;
  stdout: string;
  /** The end of standard error, without escape sequences. */
  stderr: string;
}

/**
 * @throws the reason of the signal; BerthError `workspace_unavailable` at the time-out, `internal` if git is not there or
 * writes too much
 */
export type Git = (run: GitRun) => Promise<GitEnd>;

const hardening: Readonly<Record<string, string>> = {
  'core.hooksPath': '/dev/null',
  'core.fsmonitor': 'false',
  'core.untrackedCache': 'false',
  'core.commitGraph': 'false',
  'core.multiPackIndex': 'false',
  'core.askPass': '',
  'core.sshCommand': 'false',
  'core.gitProxy': 'none',
  'core.attributesFile': '',
  'core.excludesFile': '',
  'core.protectHFS': 'true',
  'core.protectNTFS': 'true',
  'credential.helper': '',
  'protocol.allow': 'never',
  'protocol.http.allow': 'always',
  'protocol.https.allow': 'always',
  'http.proxy': '',
  'http.followRedirects': 'false',
  'http.lowSpeedLimit': '1',
  'http.lowSpeedTime': '60',
  'submodule.recurse': 'false',
  'fetch.recurseSubmodules': 'false',
  'push.recurseSubmodules': 'no',
  'diff.ignoreSubmodules': 'all',
  'gc.auto': '0',
  'maintenance.auto': 'false',
  'advice.detachedHead': 'false',
};

const usualTimeout = 120_000;
const usualOutput = 64 * 1024 * 1024;
const longestStderr = 16 * 1024;
/** Milliseconds between SIGTERM, with which git removes its temporary files, and SIGKILL. */
const grace = 2_000;

/** @param path the PATH in which git is found */
export function gitIn(path: string | undefined): Git {
  return (run) => runGit(run, path ?? '/usr/local/bin:/usr/bin:/bin');
}

async function runGit(run: GitRun, path: string): Promise<GitEnd> {
  const { signal, timeout = usualTimeout, mostOutput = usualOutput, encoding = 'utf8' } = run;
  signal.throwIfAborted();
  const child = spawn('git', [...configOf(run.config), ...run.arguments], {
    cwd: run.workingDirectory,
    env: { ...plainEnvironment(path), ...run.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  if (run.background && child.pid !== undefined) lowerPriority(child.pid);
  const stdout: Buffer[] = [];
  let stderr = '';
  let bytes = 0;
  let late: NodeJS.Timeout | undefined;
  let problem: BerthError | undefined;
  const kill = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      // The group has ended.
    }
  };
  const end = (): void => {
    kill('SIGTERM');
    late ??= setTimeout(() => kill('SIGKILL'), grace);
  };
  const endWith = (code: ErrorCode, cause: string): void => {
    problem ??= new BerthError(code, `cannot run git ${run.arguments[0]}: ${cause}`);
    end();
  };
  const tooLong = `it did not end within ${timeout / 1_000} s; the disk may be slow`;
  const timer = setTimeout(() => endWith('workspace_unavailable', tooLong), timeout);
  signal.addEventListener('abort', end, { once: true });
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > mostOutput) endWith('internal', `it wrote more than ${mostOutput} bytes`);
    else stdout.push(chunk);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString('utf8')).slice(-longestStderr);
  });
  // git may end before it has read its input.
  child.stdin.on('error', () => {});
  child.stdin.end(run.input ?? '', encoding);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', (error) => reject(notStarted(error)));
      child.once('close', resolve);
    });
    signal.throwIfAborted();
    if (problem) throw problem;
    return { code, stdout: Buffer.concat(stdout).toString(encoding), stderr: plain(stderr) };
  } finally {
    clearTimeout(timer);
    clearTimeout(late);
    signal.removeEventListener('abort', end);
    // What git has started, such as its transport, ends with it.
    kill('SIGKILL');
  }
}

function configOf(config: Readonly<Record<string, string>> = {}): string[] {
  const all = { ...hardening, ...config };
  return Object.entries(all).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
}

function plainEnvironment(path: string): Record<string, string> {
  return {
    PATH: path,
    HOME: '/nonexistent',
    LC_ALL: 'C',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: 'false',
    GIT_ALLOW_PROTOCOL: 'http:https',
    GIT_PROTOCOL_FROM_USER: '0',
    GIT_NO_LAZY_FETCH: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_EDITOR: 'false',
    GIT_PAGER: 'cat',
    GIT_LFS_SKIP_SMUDGE: '1',
  };
}

function notStarted(error: unknown): BerthError {
  return new BerthError(
    'internal',
    `cannot run git: ${messageOf(error)}; install git in the image of the runtime container`,
    { cause: error },
  );
}

/** Without carriage returns of progress lines and control characters. */
function plain(text: string): string {
  return text.replace(/\r/g, '\n').replace(/[^\P{Cc}\n]/gu, '');
}
