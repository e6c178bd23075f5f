/**
 * The git server: resolves BERTH_REF to a commit, and fetches that commit into the git directory. This
 * is the only file that calls isomorphic-git (README.md).
 * Invariants: the refs are listed first, so a commit that the volume has already costs no fetch; what
 * can succeed later is tried a few times within the deadline; every failure of the network or the
 * server is thrown as a BerthError with its remedy.
 */
import nodeFs from 'node:fs';
import { fetch as gitFetch, listServerRefs, type ServerRef } from 'isomorphic-git';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { nearest } from '../../shared/nearest.ts';
import { pause } from '../../shared/waiting.ts';
import { Conversation, type Refs } from './conversation.ts';
import type { GitDirectory } from './git-directory.ts';
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
  /** Resolves an abbreviated commit id to the full id: git servers cannot do that. */
  expand?: ((short: string) => Promise<string | undefined>) | undefined;
  /** Milliseconds before each retry. */
  retryDelays?: readonly number[];
}

/** The current commit of BERTH_REF. */
export interface Target {
  commit: string;
  /** The ref or commit that the fetch requests from the server. */
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

/** The longest `Retry-After` of a server that is respected, in milliseconds. */
const longestWait = 20_000;

const fullId = /^[0-9a-f]{40}$/;
const shortId = /^[0-9a-f]{7,39}$/;
const safeRef = /^refs\/(?!.*(\.\.|\/\/|\/\.|\.lock))[^\s~^:?*[\\\p{Cc}]+$/u;

export function createRemote(options: RemoteOptions): Remote {
  const { transport, signal, log, retryDelays = [500, 2_000], ...context } = options;
  const { url } = context;

  /** The refs that the server advertised last: for the fetch after a listing. */
  let refs: Refs | undefined;

  /** Runs `action` until it succeeds, cannot succeed, or the delays are used up. */
  const retrying = async <T>(
    known: Refs | undefined,
    action: (conversation: Conversation) => Promise<T>,
  ): Promise<T> => {
    for (let attempt = 0; ; attempt++) {
      // The refs that the server advertised before it failed may be outdated.
      const conversation = new Conversation(transport, attempt === 0 ? known : undefined);
      try {
        const result = await action(conversation);
        conversation.assertWhole();
        refs = conversation.refs;
        return result;
      } catch (thrown) {
        const error = conversation.failure ?? thrown;
        const remoteError = asRemoteError(error, context);
        const least = retryDelays[attempt];
        const wait = least && Math.max(least, Math.min(conversation.retryAfter ?? 0, longestWait));
        const useless =
          !remoteError?.retryable || remoteError.details.permanent === true || signal.aborted;
        if (useless || wait === undefined) throw remoteError ?? error;
        log.warn('remote_retry', 'the git server failed; trying again', {
          attempt: attempt + 1,
          wait_ms: wait,
          error: remoteError,
        });
        await pause(wait, signal);
        if (signal.aborted) throw remoteError;
      }
    }
  };

  const list = (): Promise<ServerRef[]> =>
    retrying(undefined, (conversation) =>
      listServerRefs({
        http: conversation.client(),
        url,
        symrefs: true,
        peelTags: true,
        headers: {},
        // Protocol version 1 also lists all refs in the answer with which a fetch begins.
        protocolVersion: 1,
      }),
    );

  return {
    async resolve(ref) {
      if (ref !== undefined && fullId.test(ref)) return { commit: ref, remoteRef: ref };
      const all = await list();
      for (const name of ref === undefined ? ['HEAD'] : possibleNames(ref)) {
        const found = all.find((one) => one.ref === name);
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
      throw notThere(url, ref, all);
    },

    fetch({ remoteRef }, directory) {
      return retrying(refs, async (conversation) => {
        const fetched = await directory.receive(url, async ({ gitdir, cache, thin, take }) => {
          const { fetchHead } = await gitFetch({
            fs: nodeFs,
            gitdir,
            cache,
            http: conversation.client({ thin, take }),
            url,
            remote: 'origin',
            ref: 'berth',
            remoteRef,
            singleBranch: true,
            tags: false,
            depth: 1,
            // Otherwise the library reads it from the settings in the git directory.
            corsProxy: '',
          });
          conversation.assertWhole();
          if (fetchHead === null) throw new Error('the server sent no commit');
          return fetchHead;
        });
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

/** Follows annotated tags to their commit. */
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
