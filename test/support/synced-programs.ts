/**
 * The two programs of a pod as real processes from the bundles, on one volume, with a real git
 * server and the stand-in Messages API: for benchmarks and series of faults. Programs can be killed
 * and started again.
 */
import { createHmac } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tokenLine } from '../../supervisor/http/tokens.ts';
import { freePort } from './free-port.ts';
import { type GitServer, startGitServer } from './git-server.ts';
import { type MessagesApi, startMessagesApi } from './messages-api.ts';
import { type Program, startProgram } from './programs.ts';
import { createRepository, type FileSpec, type Repository } from './repository.ts';

const gitToken = 'a-git-token-of-the-tests';
const apiToken = 'a-token-of-the-tests';
const pushSecret = 'a-secret-of-the-webhook';

export interface SyncedPrograms {
  readonly volume: string;
  readonly repository: Repository;
  readonly server: GitServer;
  readonly api: MessagesApi;
  /** The programs that run now. */
  readonly programs: Record<'init' | 'serve', Program>;
  /** Starts a program again after its end. */
  restart(name: 'init' | 'serve'): void;
  /** Commits and, unless `silent`, delivers the webhook until init accepts it. @returns the commit */
  push(files: Record<string, FileSpec | null>, silent?: boolean): Promise<string>;
  prompt(text: string, headers?: Record<string, string>): Promise<{ status: number; body: Answer }>;
  /** The text of `/metrics` of init. */
  metrics(): Promise<string>;
  stop(): Promise<void>;
}

export interface Answer {
  result?: string;
  config_commit?: string;
  code?: string;
}

export interface SyncedOptions {
  directory: string;
  /** Files of the first commit. */
  files: Record<string, FileSpec>;
  cli: string;
  interval?: string;
  /** How Node.js starts init; absent: with the bundle. */
  initStart?: readonly string[];
  settings?: Record<string, string>;
}

export async function startSyncedPrograms(options: SyncedOptions): Promise<SyncedPrograms> {
  const { directory, files, cli, interval = '1h', settings = {} } = options;
  const [volume, workspace, home, root] = ['volume', 'workspace', 'home', 'repositories'].map(
    (name) => {
      mkdirSync(join(directory, name), { recursive: true });
      return join(directory, name);
    },
  ) as [string, string, string, string];
  const repository = createRepository(root, 'me/claude', files);
  const server = await startGitServer({ root, token: gitToken });
  const api = await startMessagesApi();
  const [http, metrics, sync] = await Promise.all([freePort(), freePort(), freePort()]);
  const tokens = join(directory, 'tokens');
  writeFileSync(tokens, `${tokenLine('tests', apiToken)}\n`);
  const environments = {
    init: {
      BERTH_REPO: server.repositoryUrl('me/claude').replace(/\.git$/, ''),
      BERTH_GIT_TOKEN: gitToken,
      BERTH_CONFIG_DIR: volume,
      BERTH_CREDENTIALS_SOURCE: join(directory, 'no-credentials.json'),
      BERTH_TERMINATION_LOG: join(directory, 'termination-log'),
      BERTH_SYNC_INTERVAL: interval,
      BERTH_SYNC_LISTEN: `127.0.0.1:${sync}`,
      BERTH_PUSH_SECRET: pushSecret,
    },
    serve: {
      HOME: home,
      ANTHROPIC_BASE_URL: api.url,
      ANTHROPIC_API_KEY: 'sk-ant-test-not-a-key',
      BERTH_CONFIG_DIR: volume,
      BERTH_WORKSPACE_DIR: workspace,
      BERTH_CLAUDE_PATH: cli,
      BERTH_HTTP_LISTEN: `127.0.0.1:${http}`,
      BERTH_METRICS_LISTEN: `127.0.0.1:${metrics}`,
      BERTH_API_TOKENS_FILE: tokens,
      BERTH_DRAIN_DELAY: '0s',
      ...settings,
    },
  };
  const run = (name: 'init' | 'serve'): Program => {
    const start = name === 'init' ? options.initStart : undefined;
    const given = name === 'serve' ? ['serve'] : [];
    const environment = environments[name];
    return startProgram(name, { environment, arguments: given, ...(start ? { start } : {}) });
  };
  const init = run('init');
  await init.logged('staying');
  const serve = run('serve');
  await serve.logged('listening');
  const programs = { init, serve };
  const deliver = async (commit: string): Promise<void> => {
    const ref = 'refs/heads/main';
    const body = JSON.stringify({ ref, after: commit, repository: { default_branch: 'main' } });
    const signature = createHmac('sha256', pushSecret).update(body).digest('hex');
    const headers = { 'x-github-event': 'push', 'x-hub-signature-256': `sha256=${signature}` };
    const url = `http://127.0.0.1:${sync}/hooks/push`;
    await fetch(url, { method: 'POST', body, headers }).catch(() => undefined);
  };
  return {
    ...{ volume, repository, server, api, programs },
    restart: (name) => {
      programs[name] = run(name);
    },
    push: async (changed, silent = false) => {
      const commit = repository.commit(changed);
      if (!silent) await deliver(commit);
      return commit;
    },
    prompt: async (text, headers = {}) => {
      const response = await fetch(`http://127.0.0.1:${http}/v1/prompts`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${apiToken}`,
          'content-type': 'application/json',
          ...headers,
        },
        body: JSON.stringify({ prompt: text }),
      });
      return { status: response.status, body: (await response.json()) as Answer };
    },
    metrics: async () => (await fetch(`http://127.0.0.1:${sync}/metrics`)).text(),
    stop: async () => {
      for (const name of ['serve', 'init'] as const) {
        programs[name].kill('SIGTERM');
        const late = setTimeout(() => programs[name].kill('SIGKILL'), 20_000);
        await programs[name].ended;
        clearTimeout(late);
      }
      await api.close();
      await server.close();
    },
  };
}
