/**
 * Asks the git server for the commit of BERTH_REF, and for nothing else: one request for the refs,
 * without objects and without GitHub's API.
 */
import type { Log } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';
import { createRemote, type Target } from '../git/remote.ts';
import { createTransport } from '../git/transport.ts';

/** Bytes: the refs of a repository with some 100,000 branches. */
const mostBytes = 16 * 1024 * 1024;

export interface CurrentTarget extends Target {
  /** Received from the server. */
  bytes: number;
}

/** @throws BerthError `remote_unavailable`, `remote_refused` */
export async function currentTarget(
  config: InitConfig,
  log: Log,
  signal: AbortSignal,
): Promise<CurrentTarget> {
  const { remoteUrl: url, path } = config.repository;
  const { githubApp: app, githubApiUrl: apiUrl = '', username } = config;
  let { token } = config;
  if (app) {
    const api = createTransport({ url, signal, mostBytes });
    try {
      const { installationToken } = await import('../github/github-app.ts');
      const { dispatcher } = api;
      token = await installationToken({ app, apiUrl, path, dispatcher, signal });
    } finally {
      await api.close();
    }
  }
  const login = token === undefined ? {} : { login: { username, token } };
  const transport = createTransport({ url, signal, mostBytes, ...login });
  const authenticated = token !== undefined;
  const { tokenPlace } = config;
  try {
    const remote = createRemote({ url, authenticated, tokenPlace, transport, signal, log });
    return { ...(await remote.resolve(config.ref)), bytes: transport.bytes };
  } finally {
    await transport.close();
  }
}
