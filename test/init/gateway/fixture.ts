/**
 * A gateway before a real git server that needs a token, and a real git that has none. Everything lies in
 * the test's own directory and ends with the test.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import type { Test } from 'tap';
import { type Gateway, type GatewayOptions, startGateway } from '../../../init/gateway/gateway.ts';
import {
  type GatewayConfig,
  gatewayDefinitions,
  gatewayOf,
} from '../../../init/gateway/gateway-settings.ts';
import { readSettings } from '../../../shared/config.ts';
import { testDirectory } from '../../support/directory.ts';
import { type GitServer, startGitServer } from '../../support/git-server.ts';
import { createRepository, gitEnvironment, type Repository } from '../../support/repository.ts';
import { captureLog, type Line } from '../fixture.ts';

export const token = 'canary-token-0123456789';

export interface Ran {
  code: number;
  /** Standard output and standard error. */
  text: string;
}

export interface Scene {
  directory: string;
  server: GitServer;
  gateway: Gateway;
  /** `me/app`: may be fetched and pushed. */
  app: Repository;
  lines: Line[];
  registry: Registry;
  /** The URL of a repository through the gateway. */
  url(path: string): string;
  /** Runs git in a directory of the test's own. */
  git(cwd: string, ...args: string[]): Promise<Ran>;
  /** A clone of `me/app` through the gateway. */
  clone(name: string, ...args: string[]): Promise<string>;
  /** Commits a file in a clone. */
  commit(cwd: string, text: string): Promise<void>;
  /** Sends a request without a client of git. */
  send(path: string, init?: RequestInit): Promise<{ status: number; text: string }>;
}

export interface SceneOptions {
  environment?: Record<string, string>;
  gateway?: (url: string) => Partial<GatewayOptions>;
}

export async function openScene(t: Test, options: SceneOptions = {}): Promise<Scene> {
  const directory = testDirectory(t, { repositories: {}, work: {} });
  const root = join(directory, 'repositories');
  const app = createRepository(root, 'me/app', {
    'README.md': '# one\n',
    'large.txt': 'x'.repeat(50_000),
  });
  createRepository(root, 'me/App', { 'README.md': '# another\n' });
  createRepository(root, 'other/secret', { 'README.md': '# secret\n' });
  createRepository(root, 'me/claude', { 'CLAUDE.md': '# one\n' });
  const server = await startGitServer({ root, token });
  t.teardown(() => server.close());
  const { lines, log } = captureLog();
  const registry = new Registry();
  const gateway = await startGateway({
    config: configOf(options.environment),
    home: { origin: server.url, path: 'me/claude' },
    reserved: ['berth/changes'],
    login: () => ({ username: 'oauth2', token, app: undefined }),
    githubApiUrl: undefined,
    tokenPlace: 'BERTH_GIT_TOKEN',
    registry,
    log,
    ...options.gateway?.(server.url),
  });
  t.teardown(() => gateway.stop());
  const work = join(directory, 'work');
  const url = (path: string) => `${gateway.url}/${path}`;
  const git = (cwd: string, ...args: string[]) => runGit(cwd, args);

  return {
    ...{ directory, server, gateway, app, lines, registry, url, git },
    async clone(name, ...args) {
      const { code, text } = await git(work, 'clone', '--quiet', ...args, url('me/app'), name);
      t.equal(code, 0, text);
      return join(work, name);
    },
    async commit(cwd, text) {
      await git(cwd, 'commit', '--quiet', '--allow-empty', '-m', text);
    },
    async send(path, init) {
      const answer = await fetch(`${gateway.url}${path}`, init);
      return { status: answer.status, text: await answer.text() };
    },
  };
}

export function configOf(environment: Record<string, string> = {}): GatewayConfig {
  const { settings } = readSettings(gatewayDefinitions, {
    BERTH_GATEWAY_REPOS: 'me/app',
    BERTH_GATEWAY_PUSH: 'me/app,me/claude',
    BERTH_GATEWAY_LISTEN: '127.0.0.1:0',
    ...environment,
  });
  const config = gatewayOf(settings);
  if (!config) throw new Error('the gateway is off');
  return config;
}

export function runGit(cwd: string, args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile('git', args, { cwd, env: gitEnvironment() }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, text: stdout + stderr });
    });
  });
}
