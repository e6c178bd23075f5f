/**
 * The checkout of one prompt: prepared before the prompt waits for a worker, put into the directory of its worker, and
 * published when the turn has ended and before the worker serves another prompt.
 */
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Pool } from '../pool/pool.ts';
import type { Profile } from '../profiles/profile.ts';
import type { SessionRecord, SessionWorkspace } from '../sessions/session-record.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { Workspaces } from '../sessions/workspaces.ts';
import { type Author, stateOf } from '../workspaces/checkout.ts';
import type { CheckoutNeed, Checkouts } from '../workspaces/checkouts.ts';
import type { PreparedCheckout } from '../workspaces/prepared-checkout.ts';
import type { WorkspaceOutcome } from '../workspaces/turn-end.ts';
import type { PublishRequest } from '../workspaces/workspace-request.ts';
import type { Answer } from './answer.ts';
import type { LivePrompts } from './live-prompts.ts';
import type { Prompt } from './prompt.ts';
import { workspaceOf } from './workspace-of-prompt.ts';

export interface CheckoutOptions {
  checkouts: Pick<Checkouts, 'prepare' | 'end'>;
  workspaces: Pick<Workspaces, 'pathOf'>;
  store: Pick<SessionStore, 'peek' | 'note'>;
}

/** The author of commits that berth makes, if the profile names none. */
const usualAuthor: Author = { name: 'berth', email: 'berth@localhost' };

export class CheckoutOfPrompt {
  readonly #options: CheckoutOptions;
  readonly #prompt: Prompt;
  readonly #signal: AbortSignal;
  readonly #prepared: PreparedCheckout;
  #directory: string | undefined;

  private constructor(
    options: CheckoutOptions,
    prompt: Prompt,
    signal: AbortSignal,
    prepared: PreparedCheckout,
  ) {
    this.#options = options;
    this.#prompt = prompt;
    this.#signal = signal;
    this.#prepared = prepared;
  }

  /** @returns undefined for a prompt without a checkout. @throws BerthError as `Checkouts.prepare` */
  static async prepare(
    options: CheckoutOptions,
    prompt: Prompt,
    signal: AbortSignal,
  ): Promise<CheckoutOfPrompt | undefined> {
    const { record, fork, profile, workspace: wanted } = prompt;
    const saved = record?.workspace;
    if (!saved && !wanted) return undefined;
    const directory =
      record && !fork ? options.workspaces.pathOf(record.working_directory) : undefined;
    const need: CheckoutNeed = {
      ...{ saved, sessionId: record?.id, directory, fork, wanted, signal },
      // The profile may be loaded again while the prompt waits.
      instructions: () => prompt.profile.workspaces?.instructions ?? false,
      author: profile.workspaces?.author ?? usualAuthor,
    };
    const prepared = await options.checkouts.prepare(need);
    return prepared && new CheckoutOfPrompt(options, prompt, signal, prepared);
  }

  /** For the record of the session. */
  get state(): SessionWorkspace {
    return this.#prepared.state;
  }

  /**
   * @param directory of the worker
   * @param isGone whether the worker has ended, and its directory with it
   * @returns the note for the model, if it needs one
   * @throws BerthError
   */
  async fill(directory: string, isGone: () => boolean): Promise<string | undefined> {
    this.#directory = directory;
    return this.#prepared.fill(directory, isGone);
  }

  /** Reads and publishes what the turn has done. Never rejects. */
  async finish(answer: Answer): Promise<Answer> {
    const directory = this.#directory;
    if (directory === undefined) return answer;
    const { remade, warnings } = this.#prepared;
    const record = this.#options.store.peek(answer.session_id);
    const state = record?.workspace ?? this.state;
    const { profile, publish } = this.#prompt;
    const turn = { state, directory, remade, publish, profile, answer, signal: this.#signal };
    const outcome = await endOf(this.#options, turn);
    return withOutcome(answer, outcome, warnings);
  }

  /** Removes what was prepared and not used; never rejects. */
  discard(): Promise<void> {
    return this.#prepared.discard();
  }
}

/** Whether the session had a checkout that is no longer on the disk. */
export async function isCheckoutLost(
  workspaces: CheckoutOptions['workspaces'],
  record: SessionRecord,
): Promise<boolean> {
  const directory = workspaces.pathOf(record.working_directory);
  if (!record.workspace || directory === undefined) return false;
  return (await stateOf(directory)) === 'none';
}

export interface EarlierOptions extends CheckoutOptions {
  live: Pick<LivePrompts, 'use'>;
  pool: Pick<Pool, 'hold'>;
}

/**
 * What follows a turn that an earlier process of berth has run. No prompt works in its session meanwhile.
 * @param ending ends the publishing, if there is one
 */
export async function finishEarlier(
  options: EarlierOptions,
  record: SessionRecord,
  profile: Profile | undefined,
  publish: PublishRequest | undefined,
  answer: Answer,
  ending: AbortSignal,
): Promise<Answer> {
  const { workspace: state } = record;
  const directory = options.workspaces.pathOf(record.working_directory);
  if (!state || directory === undefined) return answer;
  const refusal = publish && refusalOf(options, record, profile, publish);
  const letGo = publish && !refusal ? options.pool.hold(record.id) : undefined;
  try {
    // What is not published is only measured.
    const signal = publish ? ending : new AbortController().signal;
    const turn = { state, directory, remade: false, publish, refusal, profile, answer, signal };
    return withOutcome(answer, await endOf(options, turn), []);
  } finally {
    letGo?.();
  }
}

/** The profile may have changed since the turn began, and another prompt may be at work. */
function refusalOf(
  { live }: EarlierOptions,
  record: SessionRecord,
  profile: Profile | undefined,
  publish: PublishRequest,
): BerthError | undefined {
  if (!profile) {
    const text = `cannot publish: there is no profile ${record.profile} any more; add it again`;
    return new BerthError('workspace_refused', text);
  }
  try {
    workspaceOf({ publish }, profile, record);
  } catch (error) {
    return asBerthError(error);
  }
  if (!live.use(record.id)) return undefined;
  return new BerthError(
    'publish_failed',
    `cannot publish the commits: another prompt works in the session ${record.id}; publish again when it has ended`,
  );
}

interface Ended {
  state: SessionWorkspace;
  directory: string;
  remade: boolean;
  publish: PublishRequest | undefined;
  refusal?: BerthError | undefined;
  profile: Profile | undefined;
  answer: Answer;
  signal: AbortSignal;
}

async function endOf(
  { checkouts, store }: CheckoutOptions,
  { profile, answer, ...turn }: Ended,
): Promise<WorkspaceOutcome> {
  const { session_id: sessionId, result } = answer;
  const author = profile?.workspaces?.author ?? usualAuthor;
  const { state, outcome } = await checkouts.end({ ...turn, sessionId, result, author });
  const record = store.peek(sessionId);
  if (record) store.note({ ...record, workspace: state });
  return outcome;
}

function withOutcome(
  answer: Answer,
  workspace: WorkspaceOutcome,
  warnings: readonly string[],
): Answer {
  const { problem } = workspace;
  const problems = problem ? [`the commits were not published: ${problem.detail}`] : [];
  return { ...answer, workspace, warnings: [...answer.warnings, ...warnings, ...problems] };
}
