/**
 * The git server: which commit is wanted, and getting it into the git directory.
 * Always holds: the refs are asked first, so a commit that is here already costs no fetch; what can
 * succeed later is tried a few times within the deadline; every failure of the network or the
 * server comes out as a BerthError with its remedy.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ServerRef } from 'isomorphic-git';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { nearest } from '../../shared/nearest.ts';
import { type GitDirectory, loadGit } from './git-directory.ts';
import { asRemoteError } from './remote-errors.ts';
import type { Transport } from './transport.ts';

export interface RemoteOptions {
  url: string;
  /** Whether `transport` sends a token. */
  authenticated: boolean;
  /** Completes "put a token into ...". */
  tokenPlace?: string;
  transport: Transport;
  signal: AbortSignal;
  log: Log;
  /** The full id of the commit that an abbreviated one means: git servers do not tell. */
  expand?: ((short: string) => Promise<string | undefined>) | undefined;
  /** Milliseconds before each further try. */
  retryDelays?: readonly number[];
}

/** What BERTH_REF stands for at the moment. */
export interface Target {
  commit: string;
  /** What to ask the server for. */
  remoteRef: string;
}

export interface Remote {
  /** @throws BerthError `remote_unavailable` or `remote_refused` */
  resolve(ref: string | undefined): Promise<Target>;
  /**
   * Fetches the target as it is by now and returns its commit.
   * @throws BerthError as `resolve`; any other error means that the git directory is damaged
   */
  fetch(target: Target, directory: GitDirectory): Promise<string>;
}

/** Milliseconds that a server may ask for between two tries. */
const longestWait = 20_000;

const fullId = /^[0-9a-f]{40}$/;
const shortId = /^[0-9a-f]{7,39}$/;
const safeRef = /^refs\/(?!.*(\.\.|\/\/|\/\.|\.lock))[^\s~^:?*[\\\p{Cc}]+$/u;

export function createRemote(options: RemoteOptions): Remote {
  const { transport, signal, log, retryDelays = [500, 2_000], ...context } = options;
  const { url } = context;

  const assertWhole = (): void => {
    const failure = transport.failure();
    if (failure !== undefined) throw failure;
  };

  /** Runs `action` until it succeeds, cannot succeed, or the delays are used up. */
  const retrying = async <T>(action: () => Promise<T>): Promise<T> => {
    for (let attempt = 0; ; attempt++) {
      try {
        transport.forget();
        // What the server said before it failed may be out of date by now.
        if (attempt > 0) transport.forgetRefs();
        const result = await action();
        assertWhole();
        return result;
      } catch (thrown) {
        const error = transport.failure() ?? thrown;
        const known = asRemoteError(error, context);
        const least = retryDelays[attempt];
        const wait = least && Math.max(least, Math.min(transport.retryAfter ?? 0, longestWait));
        const useless = !known?.retryable || known.details.permanent === true || signal.aborted;
        if (useless || wait === undefined) throw known ?? error;
        log.warn('remote_retry', 'the git server failed; trying again', {
          attempt: attempt + 1,
          wait_ms: wait,
          error: known,
        });
        await delay(wait, undefined, { signal }).catch(() => {
          throw known;
        });
      }
    }
  };

  const list = async (prefix: string): Promise<ServerRef[]> => {
    const git = await loadGit();
    const { http } = transport;
    return retrying(() =>
      git.listServerRefs({
        http,
        url,
        prefix,
        symrefs: true,
        peelTags: true,
        headers: {},
        // All refs in one answer, which the library then takes for its fetch too (transport.ts).
        protocolVersion: 1,
      }),
    );
  };

  return {
    async resolve(ref) {
      if (ref !== undefined && fullId.test(ref)) return { commit: ref, remoteRef: ref };
      transport.forgetRefs();
      const candidates = ref === undefined ? ['HEAD'] : possibleNames(ref);
      for (const name of candidates) {
        const found = (await list(name)).find((one) => one.ref === name);
        if (!found) continue;
        const { target } = found as { target?: string };
        if (!fullId.test(found.oid)) throw notSha1(url);
        return {
          commit: found.peeled ?? found.oid,
          remoteRef: target !== undefined && safeRef.test(target) ? target : name,
        };
      }
      const commit = ref !== undefined && shortId.test(ref) && (await options.expand?.(ref));
      if (commit) return { commit, remoteRef: commit };
      throw notThere(url, ref, await list('refs/'));
    },

    fetch(target, directory) {
      return retrying(async () => {
        const fetched = await directory.fetch({ transport, url, remoteRef: target.remoteRef });
        const commit = await peel(directory, fetched, url);
        await directory.remember(commit);
        return commit;
      });
    },
  };
}

function possibleNames(ref: string): string[] {
  return ref.startsWith('refs/') ? [ref] : [`refs/heads/${ref}`, `refs/tags/${ref}`];
}

/** The commit behind annotated tags, even of tags. */
async function peel(directory: GitDirectory, oid: string, url: string): Promise<string> {
  let id = oid;
  for (let depth = 0; depth < 10; depth++) {
    const { type, content } = await directory.read(id);
    if (type === 'commit') return id;
    const tagged = /^object ([0-9a-f]{40})\n/.exec(content.toString('latin1'))?.[1];
    if (type !== 'tag' || tagged === undefined) break;
    id = tagged;
  }
  throw new BerthError(
    'remote_refused',
    `cannot use ${url}: BERTH_REF is a tag on something that is no commit; choose another ref`,
  );
}

function notSha1(url: string): BerthError {
  return new BerthError(
    'remote_refused',
    `cannot use ${url}: it is a SHA-256 repository, which berth cannot read; make a SHA-1 one of it (git init --object-format=sha1) and push there`,
  );
}

function notThere(url: string, ref: string | undefined, refs: readonly ServerRef[]): BerthError {
  const names = refs
    .map((one) => one.ref)
    .filter((name) => /^refs\/(heads|tags)\//.test(name))
    .map((name) => name.replace(/^refs\/(heads|tags)\//, ''));
  if (names.length === 0) {
    return new BerthError(
      'remote_refused',
      `cannot use ${url}: the repository is empty; push a first commit`,
    );
  }
  const some = names.slice(0, 10).join(', ');
  if (ref === undefined) {
    return new BerthError(
      'remote_refused',
      `cannot use ${url}: it has no default branch; set BERTH_REF to one of ${some}`,
    );
  }
  const near = nearest(ref, names);
  const hint = near ? `did you mean ${near}? Correct` : `it has ${some}; correct`;
  return new BerthError(
    'remote_refused',
    `cannot use ${url}: it has no branch or tag ${JSON.stringify(ref)}; ${hint} BERTH_REF${/^[0-9a-f]{7,39}$/.test(ref) ? ' (a commit needs all its 40 digits)' : ''}`,
    { details: { nearest: near } },
  );
}
