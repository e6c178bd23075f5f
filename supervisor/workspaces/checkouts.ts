/**
 * The checkouts of sessions: made before a turn, published after it.
 * Invariants: a checkout belongs to one session, and lies in the directory of the session. A checkout that exists is
 * never changed before a turn. One that is lost with its disk is made again at the commit that the session had, or at
 * the commit with which the session began. A failure to publish is a part of the answer: the answer was paid for.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import type { Slots } from '../../shared/slots.ts';
import type { SessionWorkspace } from '../sessions/session-record.ts';
import { type Author, type StagedCheckout, stageCheckout, stateOf } from './checkout.ts';
import type { Mirrors } from './mirrors.ts';
import {
  type CheckoutOutcome,
  keptCheckout,
  type Made,
  type PreparedCheckout,
  preparedCheckout,
} from './prepared-checkout.ts';
import { ownBranch } from './publish.ts';
import { findTarget, type Target, tipOf } from './remote-refs.ts';
import type { SpareTrees } from './spare-trees.ts';
import { type Ended, type EndOfTurn, TurnEnds, type TurnEndsOptions } from './turn-end.ts';
import type { WorkspaceRequest } from './workspace-request.ts';

export interface CheckoutsOptions extends TurnEndsOptions {
  mirrors: Mirrors;
  /** For what is being made; emptied at the start. */
  staging: string;
  /** Bounds the checkouts that are made at a time: they run before their prompts wait for a worker. */
  slots: Slots;
  trees: SpareTrees;
  onCheckout: (outcome: CheckoutOutcome) => void;
}

/** What a prompt needs. */
export interface CheckoutNeed {
  /** The checkout that the session has; undefined if the session begins. */
  saved: SessionWorkspace | undefined;
  /** Of the saved checkout; a lost checkout is restored from the branch of the session. */
  sessionId?: string | undefined;
  /** The directory of the session; undefined if the session begins. */
  directory: string | undefined;
  /** Whether a new session begins with the history, and the checkout, of another one. */
  fork?: boolean;
  /** The wish of a session that begins. */
  wanted: WorkspaceRequest | undefined;
  /** Whether the CLAUDE.md of the repository is given to the model; called when the checkout is filled. */
  instructions: () => boolean;
  author: Author;
  signal: AbortSignal;
}

export class Checkouts {
  readonly #options: CheckoutsOptions;
  readonly #turnEnds: TurnEnds;

  constructor(options: CheckoutsOptions) {
    this.#options = options;
    this.#turnEnds = new TurnEnds(options);
  }

  /** The number and the bytes of the mirrors, and the number of repositories whose files are checked out in advance. */
  get usage(): { mirrors: number; mirrorBytes: number; spares: number } {
    const { mirrors, trees } = this.#options;
    const { count, bytes } = mirrors.usage;
    return { mirrors: count, mirrorBytes: bytes, spares: trees.count };
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
        if (isThere) return keptCheckout(saved);
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
    const made = { state, staged, stage, began, remade: false, copied: false, warnings: [] };
    const { author } = need;
    const onFilled = () => {
      void this.#options.trees.prepare(wanted, (signal) =>
        this.#stage(wanted, target, { author, signal }),
      );
    };
    return this.#prepared(made, need, onFilled);
  }

  /** Removes the files that are there for later sessions; never rejects. */
  makeRoom(): Promise<void> {
    return this.#options.trees.makeRoom();
  }

  /** Makes no files for later sessions any more; never rejects. */
  stop(): Promise<void> {
    return this.#options.trees.stop();
  }

  /** What follows a turn: reads the state, and publishes if the caller wants that. Never rejects. */
  end(turn: EndOfTurn): Promise<Ended> {
    return this.#turnEnds.end(turn);
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
        const made = { state, staged, stage, began, remade: !fork, copied: fork, warnings };
        return this.#prepared(made, need);
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
    { author, signal }: Pick<CheckoutNeed, 'author' | 'signal'>,
  ): Promise<StagedCheckout> {
    const { mirrors, staging, gateway } = this.#options;
    const url = gateway.repositoryUrl(wanted.repo);
    return stageCheckout(mirrors, staging, { wanted, target, author, url, signal });
  }

  #prepared(
    made: Omit<Made, 'instructions' | 'signal' | 'takeTree' | 'onFilled'>,
    { instructions, signal }: CheckoutNeed,
    onFilled = (): void => undefined,
  ): PreparedCheckout {
    const { trees } = this.#options;
    const { repo, path } = requestOf(made.state);
    const more = { instructions, signal, onFilled, takeTree: () => trees.take({ repo, path }) };
    const onFailure = (error: unknown, repository: string) => this.#failed(error, repository);
    return preparedCheckout({ ...made, ...more }, { ...this.#options, onFailure });
  }

  #failed(error: unknown, repository: string | undefined): void {
    const { code, message } = asBerthError(error);
    this.#options.onCheckout('failed');
    this.#options.log.warn('workspace_failed', message, { repository, code });
  }
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
