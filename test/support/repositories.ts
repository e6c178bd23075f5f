/**
 * Repositories behind a real git server and a real gateway, for programs: soaks, benchmarks and tests with whole
 * programs. Pull requests are those of a stand-in for GitHub's API.
 */
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { startGateway } from '../../init/gateway/gateway.ts';
import { gatewayDefinitions, gatewayOf } from '../../init/gateway/gateway-settings.ts';
import { readSettings } from '../../shared/config.ts';
import { captureLog } from './captured-log.ts';
import { type GitServer, startGitServer } from './git-server.ts';
import { startGitHubApi } from './github-api.ts';
import type { PullRequests } from './github-pulls.ts';

export interface Repositories {
  /** Contains the bare repositories. */
  root: string;
  server: GitServer;
  /** The address of the gateway. */
  url: string;
  /** Of the one repository with pull requests. */
  pulls: PullRequests;
}

const token = 'canary-token-0123456789';

/**
 * All repositories of the same owner may be fetched and pushed.
 * @param repository the one with pull requests
 */
export async function startRepositories(
  directory: string,
  cleanup: AsyncDisposableStack,
  repository = 'me/app',
): Promise<Repositories> {
  const root = join(directory, 'repositories');
  mkdirSync(root, { recursive: true });
  const pulls: PullRequests = {
    get branches() {
      return readdirSync(join(root, `${repository}.git/refs/heads`), { recursive: true }).map(
        String,
      );
    },
    opened: [],
  };
  const server = await startGitServer({ root, token });
  cleanup.defer(() => server.close());
  const api = await startGitHubApi({ repository, token, pulls });
  cleanup.defer(() => api.close());
  const { settings } = readSettings(gatewayDefinitions, {
    BERTH_GATEWAY_PUSH: `${repository.split('/')[0]}/*`,
    BERTH_GATEWAY_LISTEN: '127.0.0.1:0',
  });
  const config = gatewayOf(settings);
  if (!config) throw new Error('the gateway is off');
  const gateway = await startGateway({
    ...{ config, home: { origin: server.url, path: 'me/claude' }, reserved: [] },
    login: () => ({ username: 'oauth2', token, app: undefined }),
    ...{ githubApiUrl: api.url, tokenPlace: 'BERTH_GIT_TOKEN' },
    ...{ registry: new Registry(), log: captureLog().log },
  });
  cleanup.defer(() => gateway.stop());
  return { root, server, url: gateway.url, pulls };
}
