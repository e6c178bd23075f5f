/**
 * What follows a turn in a checkout: reads the state of the checkout, and publishes the commits if the caller wants that.
 * Invariant: a failure to publish is a part of the answer, because the answer was paid for.
 */
import { asBerthError, BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import type { Git } from '../claude/git.ts';
import type { SessionWorkspace } from '../sessions/session-record.ts';
import type { Author } from './checkout.ts';
import type { GatewayClient } from './gateway-client.ts';
import { isNoSpace } from './git-failures.ts';
import { publishCommits } from './publish.ts';
import { type DiffStat, publishTimeout, SessionCommits } from './session-commits.ts';
import type { PublishRequest } from './workspace-request.ts';

export const publishOutcomes = ['pushed', 'nothing', 'failed', 'refused'] as const;
export type PublishOutcome = (typeof publishOutcomes)[number];

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

/** The state of the checkout for the record of its session, and the part of the answer. */
export interface Ended {
  state: SessionWorkspace;
  outcome: WorkspaceOutcome;
}

export interface TurnEndsOptions {
  git: Git;
  gateway: GatewayClient;
  /** For temporary files of git. */
  staging: string;
  log: Log;
  onPublish: (outcome: PublishOutcome) => void;
}

export class TurnEnds {
  readonly #options: TurnEndsOptions;
  /** By directory: what follows a turn is done once at a time. */
  readonly #queues = new Map<string, { queue: SerialQueue; users: number }>();

  constructor(options: TurnEndsOptions) {
    this.#options = options;
  }

  /** Never rejects. */
  async end(turn: EndOfTurn): Promise<Ended> {
    const { directory } = turn;
    const own = this.#queues.get(directory) ?? { queue: new SerialQueue(), users: 0 };
    this.#queues.set(directory, own);
    own.users += 1;
    try {
      return await own.queue.add(() => this.#end(turn));
    } finally {
      own.users -= 1;
      if (own.users === 0) this.#queues.delete(directory);
    }
  }

  async #end(turn: EndOfTurn): Promise<Ended> {
    const { directory, publish, refusal, remade } = turn;
    const { git, staging } = this.#options;
    let { state } = turn;
    let diff: DiffStat = { files: 0, insertions: 0, deletions: 0 };
    const signal = AbortSignal.any([turn.signal, AbortSignal.timeout(publishTimeout)]);
    let problem: BerthError | undefined;
    let isPublished = false;
    try {
      await SessionCommits.with(
        { git, staging, directory, path: state.path, signal },
        async (commits) => {
          try {
            state = { ...state, commit: commits.head };
            if (publish && refusal) throw refusal;
            if (publish) state = await this.#publish(turn, commits, (now) => (state = now));
            isPublished = publish !== undefined;
          } finally {
            diff = await commits.diffStat(state.start, publish ? 'head' : 'files');
          }
        },
      );
    } catch (error) {
      // After the publishing only the sizes of the changes can be missing.
      if (!isPublished) problem = signal.aborted ? cutShort() : asPublishError(error);
      if (publish && problem) this.#unpublished(problem, turn);
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
    'cannot publish the commits: the time of the prompt is over, its job was ended, or berth stops; the commits are kept in the checkout',
  );
}
