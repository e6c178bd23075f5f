/** A checkout that is ready for one prompt: it is put into the directory of the worker when there is one. */
import { asBerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import type { Git } from '../claude/git.ts';
import type { SessionWorkspace } from '../sessions/session-record.ts';
import { fillDirectory, type StagedCheckout, stateOf } from './checkout.ts';
import { instructionsIn, noteFor, warningsFor } from './checkout-note.ts';
import type { Mirrors } from './mirrors.ts';
import type { SpareTree } from './move-tree.ts';

export const checkoutOutcomes = ['fetched', 'mirrored', 'remade', 'failed'] as const;
/** `fetched`: something came from the server; `mirrored`: everything was on the disk. */
export type CheckoutOutcome = (typeof checkoutOutcomes)[number];

/** A checkout for one prompt. */
export interface PreparedCheckout {
  /**
   * Fills the directory of the worker, if that is needed.
   * @param isGone whether the worker has ended: its directory is removed then, which is no fault of the checkout
   * @returns what the model is to know about the checkout; undefined if it knows it
   * @throws BerthError
   */
  fill: (directory: string, isGone?: () => boolean) => Promise<string | undefined>;
  /** For the record of the session. */
  readonly state: SessionWorkspace;
  readonly remade: boolean;
  readonly warnings: readonly string[];
  /** Removes what was made and not used; never rejects. */
  discard: () => Promise<void>;
}

export interface PreparedOptions {
  git: Git;
  mirrors: Mirrors;
  log: Log;
  onCheckout: (outcome: CheckoutOutcome) => void;
  onFailure: (error: unknown, repository: string) => void;
}

export interface Made {
  state: SessionWorkspace;
  staged: StagedCheckout;
  /** Makes the checkout once more. */
  stage: () => Promise<StagedCheckout>;
  /** Whether the CLAUDE.md of the repository is given to the model; called when the checkout is filled. */
  instructions: () => boolean;
  signal: AbortSignal;
  /** Files that were checked out before; undefined if there are none. */
  takeTree: () => SpareTree | undefined;
  /** Called when the directory has been filled. */
  onFilled: () => void;
  /** By performance.now(). */
  began: number;
  remade: boolean;
  /** Whether the session begins with the history of another one. */
  copied: boolean;
  warnings: string[];
}

/** The checkout was made in the staging directory; `fill` moves it into the directory of the worker. */
export function preparedCheckout(made: Made, options: PreparedOptions): PreparedCheckout {
  const { git, mirrors, log, onCheckout, onFailure } = options;
  const { state, signal, began, remade, copied, warnings } = made;
  let waiting: StagedCheckout | undefined = made.staged;
  let note: string | undefined;
  /** A pack of the mirror may be damaged, which only the checkout shows. */
  const fillOnce = async (directory: string): Promise<void> => {
    const staged = waiting ?? (await made.stage());
    waiting = undefined;
    await fillDirectory(git, directory, staged, signal, made.takeTree());
  };
  const fill: PreparedCheckout['fill'] = async (directory, isGone = () => false) => {
    // Another attempt of the same prompt: its session has the checkout.
    if ((await stateOf(directory)) === 'complete') return note;
    try {
      await fillOnce(directory).catch(async (error: unknown) => {
        const { code, message } = asBerthError(error);
        if (signal.aborted || isGone() || code !== 'workspace_unavailable') throw error;
        await mirrors.discard(state.repo, message);
        await fillOnce(directory);
      });
    } catch (error) {
      if (!signal.aborted && !isGone()) onFailure(error, state.repo);
      throw error;
    }
    // Another worker of the same prompt.
    if (note !== undefined) return note;
    const outcome = remade ? 'remade' : made.staged.fetched ? 'fetched' : 'mirrored';
    onCheckout(outcome);
    made.onFilled();
    log.info('workspace_ready', `checked ${state.repo} out`, {
      ...{ repository: state.repo, commit: state.commit, outcome },
      duration_ms: Math.round(performance.now() - began),
    });
    const instructions = made.instructions()
      ? await instructionsIn(git, directory, state, signal)
      : undefined;
    warnings.push(...(await warningsFor(directory)));
    note = noteFor(state, { remade, copied, instructions });
    return note;
  };
  const discard = async (): Promise<void> => {
    if (waiting) await removeTree(waiting.path).catch(() => undefined);
    waiting = undefined;
  };
  return { fill, state, remade, warnings, discard };
}

/** The checkout that the session has. */
export function keptCheckout(state: SessionWorkspace): PreparedCheckout {
  const nothing = async () => undefined;
  return { fill: nothing, state, remade: false, warnings: [], discard: nothing };
}
