/**
 * The checkouts of sessions: made before a turn, published after it.
 * Invariants: a checkout belongs to one session, and lies in the directory of the session. A checkout that exists is
 * never changed before a turn. One that is lost with its disk is made again at the commit that the session had, or at
 * the commit with which the session began. A failure to publish is a part of the answer: the answer was paid for.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asBerthError, BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import type { Slots } from '../../shared/slots.ts';
import type { Git } from '../claude/git.ts';
import type { SessionWorkspace } from '../sessions/session-record.ts';
import {
  type Author,
  fillDirectory,
  type StagedCheckout,
  stageCheckout,
  stateOf,
} from './checkout.ts';
import { instructionsIn, noteFor, warningsFor } from './checkout-note.ts';
import type { GatewayClient } from './gateway-client.ts';
import { isNoSpace } from './git-failures.ts';
import type { Mirrors } from './mirrors.ts';
import { ownBranch, publishCommits } from './publish.ts';
import { findTarget, type Target, tipOf } from './remote-refs.ts';
import { type DiffStat, publishTimeout, SessionCommits } from './session-commits.ts';
import type { PublishRequest, WorkspaceRequest } from './workspace-request.ts';

export const checkoutOutcomes = ['fetched', 'mirrored', 'remade', 'failed'] as const;
/** `fetched`: something came from the server; `mirrored`: everything was on the disk. */
export type CheckoutOutcome = (typeof checkoutOutcomes)[number];

export const publishOutcomes = ['pushed', 'nothing', 'failed', 'refused'] as const;
export type PublishOutcome = (typeof publishOutcomes)[number];

export interface CheckoutsOptions {
  git: Git;
  gateway: GatewayClient;
  mirrors: Mirrors;
  /** For what is being made; emptied at the start. */
  staging: string;
  /** Bounds the checkouts that are made at a time: they run before their prompts wait for a worker. */
  slots: Slots;
  log: Log;
  onCheckout: (outcome: CheckoutOutcome) => void;
  onPublish: (outcome: PublishOutcome) => void;
}

/** What a prompt needs. */
export interface CheckoutNeed {
  /** The checkout that the session has; undefined if the session begins. */
  saved: SessionWorkspace | undefined;
  /** Of the saved checkout; a checkout that was lost is looked for on the branch of the session. */
  sessionId?: string | undefined;
  /** The directory of the session; undefined if the session begins. */
  directory: string | undefined;
  /** Whether a new session begins with the history, and the checkout, of another one. */
  fork?: boolean;
  /** The wish of a session that begins. */
  wanted: WorkspaceRequest | undefined;
  /** Whether the CLAUDE.md of the repository is given to the model. */
  instructions: boolean;
  author: Author;
  signal: AbortSignal;
}

/** The part of an answer about the workspace. */
export interface WorkspaceOutcome {
  repo: string;
  /** HEAD when the turn had ended. */
  commit: string;
  /** The branch that has the commits of the session; null if none was pushed. */
  branch: string | null;
  pull_request_url: string | null;
  /** The changes since the session began. */
  diff_stat: DiffStat;
  /** Whether the checkout was lost and made again for this prompt. */
  remade: boolean;
  /** Why the commits were not published. */
  problem?: { code: string; detail: string; retryable: boolean };
}

/** A checkout for one prompt. */
export interface PreparedCheckout {
  /**
   * Fills the directory of the worker, if that is needed.
   * @returns what the model is to know about the checkout; undefined if it knows it
   * @throws BerthError
   */
  fill: (directory: string) => Promise<string | undefined>;
  /** For the record of the session. */
  readonly state: SessionWorkspace;
  readonly remade: boolean;
  readonly warnings: readonly string[];
  /** Removes what was made and not used; never rejects. */
  discard: () => Promise<void>;
}

export interface EndOfTurn {
  state: SessionWorkspace;
  directory: string;
  sessionId: string;
  remade: boolean;
  publish: PublishRequest | undefined;
  /** Why nothing may be published now, although the caller wants that. */
  refusal?: BerthError | undefined;
  author: Author;
  result: string;
  signal: AbortSignal;
}

export class Checkouts {
  readonly #options: CheckoutsOptions;
  /** By directory: what follows a turn is done once at a time. */
  readonly #ends = new Map<string, SerialQueue>();

  constructor(options: CheckoutsOptions) {
    this.#options = options;
  }

  /** The number and the bytes of the mirrors. */
  get mirrors(): { count: number; bytes: number } {
    return this.#options.mirrors.usage;
  }

  /** Removes what an earlier run has left, and measures the mirrors; never rejects. */
  async open(): Promise<void> {
    const { staging, mirrors } = this.#options;
    for (const name of await readdir(staging).catch(() => [])) {
      await removeTree(join(staging, name)).catch(() => undefined);
    }
    await mirrors.open();
  }

  /**
   * Makes the checkout that a prompt needs ready to be put into the directory of its worker.
   * @returns undefined if the session has no checkout and needs none
   * @throws BerthError `workspace_*`, `disk_full`, `volume_unwritable`, `queue_full`
   */
  async prepare(need: CheckoutNeed): Promise<PreparedCheckout | undefined> {
    const { saved, directory, wanted, signal } = need;
    const began = performance.now();
    let release = (): void => undefined;
    try {
      if (saved) {
        const isThere = directory !== undefined && (await stateOf(directory)) !== 'none';
        if (isThere) return kept(saved);
      } else if (!wanted) return undefined;
      release = await this.#options.slots.take(signal);
      if (saved) return await this.#remake(saved, need, began);
      return wanted && (await this.#begin(wanted, need, began));
    } catch (error) {
      if (!signal.aborted) this.#failed(error, saved?.repo ?? wanted?.repo);
      throw error;
    } finally {
      release();
    }
  }

  async #begin(
    wanted: WorkspaceRequest,
    need: CheckoutNeed,
    began: number,
  ): Promise<PreparedCheckout> {
    const { git, gateway } = this.#options;
    const target = await findTarget(wanted, { git, gateway, signal: need.signal });
    const stage = () => this.#stage(wanted, target, need);
    const staged = await stage();
    const state = stateFor(wanted, target, staged);
    return this.#prepared({ state, staged, stage, need, began, remade: false, warnings: [] });
  }

  /** What follows a turn: reads the state, and publishes if the caller wants that. Never rejects. */
  async end(turn: EndOfTurn): Promise<{ state: SessionWorkspace; outcome: WorkspaceOutcome }> {
    const queue = this.#ends.get(turn.directory) ?? new SerialQueue();
    this.#ends.set(turn.directory, queue);
    try {
      return await queue.add(() => this.#end(turn));
    } finally {
      if (this.#ends.get(turn.directory) === queue) this.#ends.delete(turn.directory);
    }
  }

  async #end(turn: EndOfTurn): Promise<{ state: SessionWorkspace; outcome: WorkspaceOutcome }> {
    const { directory, publish, refusal, remade } = turn;
    const { git, staging } = this.#options;
    let { state } = turn;
    let diff: DiffStat = { files: 0, insertions: 0, deletions: 0 };
    const signal = AbortSignal.any([turn.signal, AbortSignal.timeout(publishTimeout)]);
    let problem: BerthError | undefined;
    try {
      await SessionCommits.with(
        { git, staging, directory, path: state.path, signal },
        async (commits) => {
          try {
            state = { ...state, commit: commits.head };
            if (publish && refusal) throw refusal;
            if (publish) state = await this.#publish(turn, commits, (now) => (state = now));
          } finally {
            diff = await commits.diffStat(state.start, publish ? 'head' : 'files');
          }
        },
      );
    } catch (error) {
      problem = signal.aborted ? cutShort() : asPublishError(error);
      if (publish) this.#unpublished(problem, turn);
    }
    const { repo, commit, branch, pull_request_url } = state;
    const reported = problem && publish ? { problem: problemOf(problem) } : {};
    return {
      state,
      outcome: { repo, commit, branch, pull_request_url, diff_stat: diff, remade, ...reported },
    };
  }

  /** @throws BerthError `publish_failed`, `publish_refused` */
  async #publish(
    { state: before, publish: wanted = {}, author, sessionId, result, signal }: EndOfTurn,
    commits: SessionCommits,
    note: (state: SessionWorkspace) => void,
  ): Promise<SessionWorkspace> {
    const { gateway, log, onPublish } = this.#options;
    const title = wanted.pull_request?.title ?? 'Changes by berth';
    await commits.commitAll(`${title}\n\nBerth-Session: ${sessionId}`, author);
    let state = { ...before, commit: commits.head };
    note(state);
    if (commits.head === state.start || (await commits.ahead(state.start)) === 0) {
      onPublish('nothing');
      return state;
    }
    const about = { workspace: state, wanted, sessionId, result };
    const pushed = await publishCommits(gateway, commits, about, signal, (branch) => {
      state = { ...state, branch };
      note(state);
    });
    onPublish('pushed');
    log.info('workspace_published', `pushed the commits of a session to ${pushed.branch}`, {
      session_id: sessionId,
      repository: state.repo,
      commit: state.commit,
      branch: pushed.branch,
      url: pushed.pull_request_url,
    });
    return { ...state, ...pushed };
  }

  #unpublished(error: BerthError, { sessionId, state }: EndOfTurn): void {
    const { log, onPublish } = this.#options;
    onPublish(error.code === 'publish_refused' ? 'refused' : 'failed');
    log.warn('publish_failed', `the commits of a session were not published: ${error.message}`, {
      session_id: sessionId,
      repository: state.repo,
      code: error.code,
    });
  }

  async #remake(
    saved: SessionWorkspace,
    need: CheckoutNeed,
    began: number,
  ): Promise<PreparedCheckout> {
    const wanted = requestOf(saved);
    const { fork = false } = need;
    const lost = fork
      ? 'the checkout of the copied session was made'
      : 'the checkout of the session was lost and was made again';
    const pushed = fork ? undefined : await this.#pushed(saved, need);
    const attempts = [
      ...(pushed === undefined || pushed.commit === saved.commit ? [] : [pushed]),
      { commit: saved.commit, warning: `${lost} at the commit ${saved.commit.slice(0, 12)}` },
      {
        commit: saved.start,
        warning: `${lost} at the commit with which the session began, ${saved.start.slice(0, 12)}: the git server does not have its later commits`,
      },
    ];
    for (const { commit, warning } of attempts) {
      const target = {
        commit,
        branch: saved.checked_out,
        into: saved.base,
        baseBranch: saved.base_branch,
      };
      const stage = () => this.#stage(wanted, target, need);
      try {
        const staged = await stage();
        // A copy publishes to a branch of its own.
        const own = fork ? { branch: null, pull_request_url: null } : {};
        const state = { ...saved, ...own, commit };
        const warnings = fork && commit === saved.commit ? [] : [warning];
        return this.#prepared({ state, staged, stage, need, began, remade: !fork, warnings });
      } catch (error) {
        const isLast = commit === saved.start;
        if (isLast || asBerthError(error).code !== 'workspace_not_found') throw error;
      }
    }
    throw new BerthError('internal', 'cannot make a checkout again: there is no commit to try');
  }

  /**
   * The branch that the session has pushed. It may have more than the record of the session, if berth was killed after
   * the push.
   */
  async #pushed(
    { repo, branch }: SessionWorkspace,
    { sessionId, signal }: CheckoutNeed,
  ): Promise<{ commit: string; warning: string } | undefined> {
    const own = branch ?? (sessionId === undefined ? undefined : ownBranch(sessionId));
    if (own === undefined) return undefined;
    const { git, gateway } = this.#options;
    const commit = await tipOf(repo, own, { git, gateway, signal });
    if (commit === undefined) return undefined;
    const warning = `the checkout of the session was lost and was made again at ${commit.slice(0, 12)}, the last commit of its branch ${own}`;
    return { commit, warning };
  }

  async #stage(
    wanted: WorkspaceRequest,
    target: Target,
    { author, signal }: CheckoutNeed,
  ): Promise<StagedCheckout> {
    const { mirrors, staging, gateway } = this.#options;
    const url = gateway.repositoryUrl(wanted.repo);
    return stageCheckout(mirrors, staging, { wanted, target, author, url, signal });
  }

  #prepared(made: Made): PreparedCheckout {
    const { git, mirrors, log, onCheckout } = this.#options;
    const { state, need, began, remade, warnings } = made;
    const { signal } = need;
    let waiting: StagedCheckout | undefined = made.staged;
    /** A pack of the mirror may be damaged, which only the checkout shows. */
    const fillOnce = async (directory: string): Promise<void> => {
      const staged = waiting ?? (await made.stage());
      waiting = undefined;
      await fillDirectory(git, directory, staged, signal);
    };
    const fill = async (directory: string): Promise<string | undefined> => {
      // Another attempt of the same prompt: its session has the checkout.
      if ((await stateOf(directory)) === 'complete') return undefined;
      try {
        await fillOnce(directory).catch(async (error: unknown) => {
          const { code, message } = asBerthError(error);
          if (signal.aborted || code !== 'workspace_unavailable') throw error;
          await mirrors.discard(state.repo, message);
          await fillOnce(directory);
        });
      } catch (error) {
        if (!signal.aborted) this.#failed(error, state.repo);
        throw error;
      }
      const outcome = remade ? 'remade' : made.staged.fetched ? 'fetched' : 'mirrored';
      onCheckout(outcome);
      log.info('workspace_ready', `checked ${state.repo} out`, {
        ...{ repository: state.repo, commit: state.commit, outcome },
        duration_ms: Math.round(performance.now() - began),
      });
      const instructions = need.instructions
        ? await instructionsIn(git, directory, state, signal)
        : undefined;
      warnings.push(...(await warningsFor(directory)));
      return noteFor(state, { remade, instructions });
    };
    const discard = async (): Promise<void> => {
      if (waiting) await removeTree(waiting.path).catch(() => undefined);
      waiting = undefined;
    };
    return { fill, state, remade, warnings, discard };
  }

  #failed(error: unknown, repository: string | undefined): void {
    const { code, message } = asBerthError(error);
    this.#options.onCheckout('failed');
    this.#options.log.warn('workspace_failed', message, { repository, code });
  }
}

interface Made {
  state: SessionWorkspace;
  staged: StagedCheckout;
  /** Makes the checkout once more. */
  stage: () => Promise<StagedCheckout>;
  need: CheckoutNeed;
  /** By performance.now(). */
  began: number;
  remade: boolean;
  warnings: string[];
}

function kept(state: SessionWorkspace): PreparedCheckout {
  const nothing = async () => undefined;
  return { fill: nothing, state, remade: false, warnings: [], discard: nothing };
}

function stateFor(
  { repo, pull_request, path, depth }: WorkspaceRequest,
  { branch, baseBranch }: Target,
  { commit, base }: StagedCheckout,
): SessionWorkspace {
  return {
    ...{ repo, pull_request: pull_request ?? null, path: path ?? null, depth: depth ?? null },
    ...{ start: commit, base, checked_out: branch, base_branch: baseBranch, commit },
    ...{ branch: null, pull_request_url: null },
  };
}

function requestOf({ repo, path, depth }: SessionWorkspace): WorkspaceRequest {
  return {
    repo,
    ...(path === null ? {} : { path }),
    ...(depth === null ? {} : { depth }),
  };
}

function problemOf({ code, message, retryable }: BerthError) {
  return { code, detail: message, retryable };
}

/** A failure of the disk or of git is `publish_failed`, which is worth another attempt. */
function asPublishError(error: unknown): BerthError {
  const known = asBerthError(error);
  const passes = ['workspace_unavailable', 'disk_full', 'volume_unwritable'].includes(known.code);
  if (!passes && !isNoSpace(error)) return known;
  const text = `cannot publish the commits: ${messageOf(error)}; the commits are kept in the checkout; publish again`;
  return new BerthError('publish_failed', text, { cause: error });
}

function cutShort(): BerthError {
  return new BerthError(
    'publish_failed',
    'cannot publish the commits: the time of the prompt is over, or berth stops; the commits are kept in the checkout',
  );
}
