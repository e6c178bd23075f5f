/** The parts of `npm start`: the repository, the volume that init prepares, the supervisor. */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { startGitServer } from '../../test/support/git-server.ts';
import { type LogLine, startProgram } from '../../test/support/programs.ts';
import { createRepository } from '../../test/support/repository.ts';
import { readSampleFiles } from '../../test/support/sample-repository.ts';
import type { StartOptions } from './options.ts';

type Say = (text: string) => void;

export interface PreparedRepository {
  description: string;
  /** The environment of berth-init. */
  environment: Record<string, string | undefined>;
}

/** Returns the user's repository, or the sample behind a git server that requires a token. */
export async function prepareRepository(
  { repository, ref }: StartOptions,
  directory: string,
  cleanup: AsyncDisposableStack,
): Promise<PreparedRepository> {
  if (repository !== undefined) {
    const token = process.env.BERTH_GIT_TOKEN ?? process.env.GITHUB_PAT ?? process.env.GITHUB_TOKEN;
    return {
      description: repository,
      environment: {
        BERTH_REPO: repository,
        BERTH_REF: ref,
        ...(token === undefined ? {} : { BERTH_GIT_TOKEN: token }),
      },
    };
  }
  const token = randomBytes(16).toString('hex');
  const root = join(directory, 'git');
  createRepository(root, 'sample', readSampleFiles());
  const server = await startGitServer({ root, token });
  cleanup.defer(() => server.close());
  const url = server.repositoryUrl('sample');
  return {
    description: `the sample, served at ${url} with a token`,
    environment: { BERTH_REPO: url, BERTH_REF: ref, BERTH_GIT_TOKEN: token },
  };
}

const volume = (directory: string): string => join(directory, 'claude');

/** Runs berth-init; returns a short summary of its actions. */
export async function initVolume(
  { credentials }: StartOptions,
  environment: Record<string, string | undefined>,
  directory: string,
  say: Say,
): Promise<string> {
  await mkdir(volume(directory));
  const init = startProgram('init', {
    environment: {
      ...environment,
      ...proxies(),
      BERTH_CONFIG_DIR: volume(directory),
      BERTH_UID: String(process.getuid?.() ?? 1000),
      BERTH_GID: String(process.getgid?.() ?? 1000),
      BERTH_CREDENTIALS_SOURCE: credentials,
    },
    onLine: (line) => printProblem('init', line, say),
  });
  if ((await init.ended) !== 0) throw new Error('berth-init failed, see above');
  const report = init.lines.find(({ event }) => event === 'report');
  return `${report?.written} files at commit ${String(report?.commit).slice(0, 10)} in ${report?.duration_ms} ms`;
}

export interface RunningServer {
  url: string;
  metricsUrl: string;
  token: string;
  cliVersion: string;
  /** Settles when the supervisor ends by itself. */
  ended: Promise<number | string>;
  stop: () => Promise<void>;
}

export async function startSupervisor(
  directory: string,
  environment: Record<string, string | undefined>,
  say: Say,
): Promise<RunningServer> {
  const token = makeToken();
  const tokensFile = join(directory, 'tokens');
  await writeFile(tokensFile, `${tokenLine('start', token)}\n`, { mode: 0o600 });
  const temporary = join(directory, 'tmp');
  await mkdir(temporary);
  const defaults = {
    BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
    BERTH_HTTP_LISTEN: `127.0.0.1:${await freePort(8080)}`,
    BERTH_METRICS_LISTEN: `127.0.0.1:${await freePort(9090)}`,
    BERTH_CLAUDE_PATH: join(import.meta.dirname, '../../node_modules/.bin/claude'),
    BERTH_DRAIN: '5s',
    // There is no proxy that has to notice the stop.
    BERTH_DRAIN_DELAY: '0s',
  };
  const program = startProgram('serve', {
    arguments: ['serve'],
    environment: {
      HOME: process.env.HOME,
      ...defaults,
      ...environment,
      // Files of the CLI in it are removed with the rest.
      TMPDIR: temporary,
      BERTH_CONFIG_DIR: volume(directory),
      BERTH_API_TOKENS_FILE: tokensFile,
    },
    onLine: (line) => printProblem('supervisor', line, say),
  });
  const listening = await program.logged('listening');
  return {
    url: String(listening.address),
    metricsUrl: String(listening.metrics_address),
    token,
    cliVersion: String(listening.cli_version),
    ended: program.ended,
    stop: async () => {
      program.kill('SIGTERM');
      await program.ended;
    },
  };
}

/** Prints warnings and errors. The login was already reported. */
function printProblem(program: string, line: LogLine, say: Say): void {
  if (line.event === 'credentials_missing') return;
  if (line.level === 'warn' || line.level === 'error')
    say(`${program}: ${line.level}: ${line.msg}`);
}

function proxies(): Record<string, string | undefined> {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'];
  return Object.fromEntries(
    [...names, 'NODE_EXTRA_CA_CERTS'].map((name) => [name, process.env[name]]),
  );
}

/** Returns `wanted` if the port is free, otherwise any free port. */
function freePort(wanted: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => (wanted === 0 ? reject(error) : resolve(freePort(0))));
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
      server.close(() => resolve(port));
    });
  });
}
