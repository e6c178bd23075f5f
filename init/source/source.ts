/**
 * Provides the wanted commit: from the git server or, if that fails, from the volume
 * (without-server.ts).
 * Invariants: the server gets three quarters of the time that is left, so that there is time to
 * continue without the server. A state of another repository or ref is never used.
 */
import { join } from 'node:path';
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Aside } from '../../shared/set-aside.ts';
import type { InitConfig } from '../config.ts';
import { GitDirectory } from '../git/git-directory.ts';
import { LargeFiles } from '../git/large-object.ts';
import { createRemote, type Remote, type Target } from '../git/remote.ts';
import { createTransport, type Transport } from '../git/transport.ts';
import type { Preflight } from '../github/github.ts';
import type { GitHubApp } from '../github/github-app-settings.ts';
import type { GitHubQuery } from '../github/github-query.ts';
import { Bases, secureBases } from '../reconcile/bases.ts';
import { ageOf } from '../report.ts';
import { assertDirectory, volumeEntries } from '../volume/subdirectory.ts';
import { inspectVolume, type Volume } from '../volume/volume.ts';
import { Upstream } from './upstream.ts';
import { continuingWith, type Found, fromVolume } from './without-server.ts';

export interface Source extends Found {
  /** The records of the volume that the commit is reconciled with. */
  volume: Pick<Volume, 'applied' | 'pending'>;
  /**
   * The source to use after reading from this source has failed.
   * @throws BerthError `error` itself, if the git server is not its cause or the volume has no state
   */
  instead(error: unknown): Promise<Source>;
  /** The large blobs that were received, to be moved to their places. */
  largeFiles: LargeFiles;
  /** Bytes received from the git server so far. */
  bytes(): number;
  /** Waits for checks that only cause warnings. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

/** @throws BerthError `remote_unavailable` if files of the other commit are missing on the volume */
export type Avoid = (
  commit: string,
  place: { directory: GitDirectory; volume: Volume; signal: AbortSignal },
) => Promise<Found | undefined>;

export interface SourceOptions {
  config: InitConfig;
  /** When the time of BERTH_TIMEOUT began, by `performance.now()`. */
  started: number;
  volume: Volume;
  quarantine: Aside;
  /** Repairs are added here. */
  repairs: string[];
  /** What to use in place of a commit; undefined for the commit itself. */
  avoid?: Avoid | undefined;
  log: Log;
  signal: AbortSignal;
}

/** The git server's share of what is left of BERTH_TIMEOUT: the rest is for continuing without the server. */
const serverShare = 0.75;

/** @throws BerthError `remote_unavailable`, `remote_refused` */
export async function wantedCommit(options: SourceOptions): Promise<Source> {
  const { config, volume, log } = options;
  const { username, maxRepositoryBytes: mostBytes } = config;
  const left = Math.max(0, config.timeout - (performance.now() - options.started));
  const deadline = AbortSignal.timeout(Math.ceil(left * serverShare));
  const signal = AbortSignal.any([options.signal, deadline]);
  const { remoteUrl: url } = config.repository;
  let { token } = config;
  const transports: Transport[] = [];
  const largeFiles = new LargeFiles();
  const directory = new GitDirectory(join(config.stateDirectory, 'git'), mostBytes, largeFiles);
  const connect = (to: string): Transport => {
    const login = token === undefined ? {} : { login: { username, token } };
    const transport = createTransport({ url: to, signal, mostBytes, ...login });
    transports.push(transport);
    return transport;
  };
  let query: Promise<GitHubQuery | undefined> = Promise.resolve(undefined);
  const close = async () => {
    await (await query)?.close();
    await Promise.all(transports.map((transport) => transport.close()));
    await directory.close();
  };
  const common = {
    largeFiles,
    bytes: () => transports.reduce((sum, { bytes }) => sum + bytes, 0),
    finish: async () => {
      await (await query)?.finish();
    },
    close,
  };
  const fail = async (error: unknown): Promise<never> => {
    throw error;
  };
  const withoutServer = async (failure: BerthError, found: Volume): Promise<Source> => {
    const kept =
      config.onRemoteFailure === 'continue'
        ? await fromVolume({ ...options, volume: found }, directory).catch((lacking: unknown) => {
            throw alsoLacking(failure, lacking);
          })
        : undefined;
    if (!kept) throw failure;
    const finish = async () => undefined;
    const other = await options.avoid?.(kept.commit.id, { directory, volume: found, signal });
    if (other) return { ...common, ...other, volume: found, finish, instead: fail };
    log.error('remote_failed', continuingWith(kept), {
      error: failure,
      commit: kept.commit.id,
      age_ms: ageOf(kept.confirmedAt),
      volume: volume.state,
    });
    return { ...common, ...kept, volume: found, failure, finish, instead: fail };
  };
  /** For a failure of the server while damaged objects were fetched again. */
  const instead = async (error: unknown): Promise<Source> => {
    if (!isRemote(error) || options.signal.aborted) throw error;
    return withoutServer(error, await inspectVolume(wantedOf(config)));
  };
  const use = (to: string, transport: Transport) =>
    fromServer(
      options,
      directory,
      createRemote({
        url: to,
        authenticated: token !== undefined,
        tokenPlace: config.tokenPlace,
        transport,
        signal,
        log,
        expand: expander(config, token, transport, signal),
      }),
    );
  try {
    if (config.githubApp) token = await tokenOf(config.githubApp, config, connect(url), signal);
    const transport = connect(url);
    query = queryBeside(config, token, transport, signal, log);
    return { ...common, volume, instead, ...(await use(url, transport)) };
  } catch (error) {
    if (!isRemote(error) || options.signal.aborted) {
      await close();
      throw error;
    }
    const found: Preflight = (await (await query)?.answer()) ?? { answered: false };
    const moved = error.code === 'remote_refused' && found.renamedTo;
    let failure = explained(error, found, url);
    if (moved) {
      const to = `${new URL(url).origin}/${found.renamedTo}`;
      try {
        return { ...common, volume, instead, ...(await use(to, connect(to))) };
      } catch (again) {
        failure = isRemote(again) ? again : failure;
      }
    }
    try {
      return await withoutServer(failure, volume);
    } catch (without) {
      await close();
      throw without;
    }
  }
}

async function fromServer(
  { config, volume, quarantine, repairs, avoid, log, signal }: SourceOptions,
  directory: GitDirectory,
  remote: Remote,
): Promise<Found> {
  const started = performance.now();
  const setAside = async () => {
    await quarantine.save(directory.path, 'git');
    repairs.push('the git directory was damaged, is in quarantine and was fetched again');
  };
  const upstream = new Upstream({ directory, remote, setAside, log });
  const target: Target = await remote.resolve(config.ref);
  log.debug('remote_resolved', 'the server has resolved the wanted commit', {
    commit: target.commit,
    remote_ref: target.remoteRef,
  });
  const other = await avoid?.(target.commit, { directory, volume, signal });
  if (other) return other;
  await keepEditedBases(config, volume, target, directory);
  // Only after `resolve`, so that a mistyped BERTH_REPO loses no objects.
  if (volume.state === 'other_repository' || volume.state === 'other_ref') await directory.remove();
  else if (volume.gitDamage !== undefined) {
    const { gitDamage: why } = volume;
    log.warn('volume_repaired', 'the git directory is damaged and is moved to quarantine', { why });
    await setAside();
  }
  const commit = await upstream.commit(target, volume.applied);
  assertDirectory(commit, config.directory);
  if (commit.id !== volume.applied?.commit) {
    log.debug('fetched', 'the commit is in the git directory', {
      commit: commit.id,
      duration_ms: Math.round(performance.now() - started),
    });
  }
  const branch = /^refs\/heads\/(.+)$/.exec(target.remoteRef)?.[1];
  return {
    commit,
    confirmedAt: new Date(),
    ref: config.ref ?? branch,
    failure: undefined,
    readBlob: (oid) => upstream.blob(oid, commit.id),
  };
}

/** Saves the bases of local edits before the objects of the applied commit may be removed. */
async function keepEditedBases(
  { stateDirectory, configDirectory: root, localChanges }: InitConfig,
  { applied, state }: Volume,
  { commit }: Target,
  directory: GitDirectory,
): Promise<void> {
  if (!applied || applied.commit === commit || state === 'other_repository') return;
  if (localChanges === 'discard') return;
  const read = (oid: string) => directory.read(oid);
  await secureBases(new Bases(stateDirectory), volumeEntries(applied), { root, read });
}

function wantedOf({ repository, ...config }: InitConfig) {
  return { ...config, repository: repository.url };
}

/** Resolves an abbreviated commit id by the API of GitHub, if the repository is on GitHub. */
function expander(
  { githubApiUrl: apiUrl, repository: { path } }: InitConfig,
  token: string | undefined,
  { dispatcher }: Transport,
  signal: AbortSignal,
): ((short: string) => Promise<string | undefined>) | undefined {
  if (apiUrl === undefined) return undefined;
  return async (short) => {
    const { resolveCommit } = await import('../github/github.ts');
    return resolveCommit({ apiUrl, path, token, dispatcher, signal }, short);
  };
}

/**
 * Queries GitHub in parallel to the git server, so that a successful run does not wait for GitHub.
 */
async function queryBeside(
  config: InitConfig,
  token: string | undefined,
  { dispatcher }: Transport,
  signal: AbortSignal,
  log: Log,
): Promise<GitHubQuery | undefined> {
  const { githubApiUrl: apiUrl, repository, ref, stateDirectory, tokenPlace } = config;
  const { githubApp: app } = config;
  if (apiUrl === undefined) return undefined;
  const { startGitHubQuery } = await import('../github/github-query.ts');
  const { path } = repository;
  const login = { token, tokenPlace, app };
  return startGitHubQuery({ apiUrl, path, ref, ...login, dispatcher, signal, log, stateDirectory });
}

async function tokenOf(
  app: GitHubApp,
  { githubApiUrl: apiUrl = '', repository: { path } }: InitConfig,
  { dispatcher }: Transport,
  signal: AbortSignal,
): Promise<string> {
  const { installationToken } = await import('../github/github-app.ts');
  return installationToken({ app, apiUrl, path, dispatcher, signal });
}

function isRemote(error: unknown): error is BerthError {
  return (
    error instanceof BerthError &&
    (error.code === 'remote_refused' || error.code === 'remote_unavailable')
  );
}

/** Returns the failure of the git server, and why the volume cannot do without the server. */
function alsoLacking(failure: BerthError, lacking: unknown): unknown {
  if (!isRemote(lacking)) return lacking;
  const why = messageOf(lacking.cause ?? lacking);
  const message = `${failure.message}; without the server the volume cannot be completed: ${why}`;
  return new BerthError(failure.code, message, { cause: failure, details: failure.details });
}

/** Returns the refusal of the git server, with GitHub's cause and remedy. */
function explained(error: BerthError, { problem }: Preflight, url: string): BerthError {
  const bare = error.code === 'remote_refused' && error.details.http_status !== undefined;
  if (!bare || problem === undefined) return error;
  return new BerthError('remote_refused', `cannot read ${url}: ${problem}`, {
    cause: error,
    details: error.details,
  });
}
