/**
 * Sends a prompt to a worker and runs the turn; recognises a turn whose process was lost.
 * Invariant: a prompt is plain text for the CLI. Only at its very beginning it may have a command:
 * one that its profile allows and that the process has loaded from the user's configuration.
 */
import { randomUUID } from 'node:crypto';
import { abortable } from '../../shared/waiting.ts';
import { type Place, placeAttachments } from '../attachments/place.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { HangWatch } from '../health/turn-watch.ts';
import type { Worker } from '../pool/worker.ts';
import type { Profile } from '../profiles/profile.ts';
import { isGivenUp } from './approvals-of.ts';
import type { Pass } from './limit-gate.ts';
import type { LivePrompt } from './live-prompts.ts';
import type { Logins, LoginUse } from './login-use.ts';
import { lossOf, resultOf, TurnLost } from './lost-turn.ts';
import { CallsMade, type LostUsage } from './prompt-cost.ts';
import { runTurn, type TurnEnd, type TurnEvent, type TurnOptions } from './turn.ts';

export interface SendOptions {
  /** Called with each report of the API about the limits of a login. `replaced`: of the account that was used. */
  limitHeard: (login: string, limit: UsageLimit, replaced: AbortSignal) => void;
  logins: Pick<Logins, 'keyOf'>;
  hang: HangWatch;
  /** `check` throws `configuration_invalid` if the CLI ignores settings that protect. */
  settings: { check: (process: ClaudeProcess) => Promise<void> };
}

export interface SendRequest {
  live: LivePrompt;
  worker: Worker;
  /** Of the worker, for attached files. */
  place: Place;
  use: LoginUse | undefined;
  pass: Pick<Pass, 'answered' | 'replaced'>;
  /** The text of the prompt, or the text that continues its turn. */
  text: string;
  /** The ids of the texts that this process was sent before, for the same prompt. */
  sentBefore?: readonly string[] | undefined;
  /** Follows the text: what the model is to know about its checkout. */
  note?: string | undefined;
  emit: (event: TurnEvent) => void;
  /** Decides about calls that the CLI asks about. */
  approve?: TurnOptions['approve'];
  /**
   * Called once with what the turn has used, if it has no end that is returned and is not continued. A turn that does not
   * obey an interrupt reports that later.
   */
  onUnanswered: (used: LostUsage) => void;
  /** Called and awaited before the text is sent, with the id that the CLI writes beside it. */
  beforeSend: (promptId: string) => Promise<void>;
}

export interface SentTurn {
  end: TurnEnd;
  /** The id that the CLI writes beside the prompt in the transcript. */
  promptId: string;
  /** The command that was run; undefined if the CLI got plain text. */
  command: string | undefined;
}

/**
 * @throws TurnLost if the process was lost; the signal's reason if the turn was interrupted before its end;
 *   BerthError `configuration_invalid`; if attachments cannot be written, as `placeAttachments`
 */
export async function sendPrompt(
  { limitHeard, logins, hang, settings }: SendOptions,
  request: SendRequest,
): Promise<SentTurn> {
  const { live, worker, use, pass, text, sentBefore = [], note = '', emit, approve } = request;
  const { prompt, signal } = live;
  const login = logins.keyOf(prompt);
  const promptId = randomUUID();
  const calls = new CallsMade();
  const { replaced } = pass;
  let late: Promise<TurnResult> | undefined;
  const name = text === prompt.text ? allowedCommand(text, prompt.profile) : undefined;
  const command = name !== undefined && worker.process.ownCommands.has(name) ? name : undefined;
  await settings.check(worker.process);
  // A text that continues the turn comes without attachments: the session has them.
  const attachments = text === prompt.text ? (prompt.attachments ?? []) : [];
  const content = await placeAttachments(`${text}${note}`, attachments, request.place);
  await abortable(request.beforeSend(promptId), signal);
  try {
    const end = await runTurn(worker, content, {
      promptId,
      asCommand: command !== undefined,
      signal,
      emit,
      approve,
      onLimit: (limit) => limitHeard(login, limit, replaced),
      onUsage: (usage, begins) => {
        use?.answered();
        pass.answered();
        calls.note(usage, begins);
      },
      onLate: (turn) => {
        late = turn;
      },
      watch: hang,
    });
    return { end, promptId, command };
  } catch (thrown) {
    const reason = signal.aborted ? undefined : lossOf(thrown, worker);
    if (reason === undefined) {
      const count = (result: TurnResult | undefined): void => {
        if (result || calls.count > 0) request.onUnanswered({ calls, result });
      };
      // The process of a turn that was given up is ended at once.
      if (!late || isGivenUp(thrown)) count(resultOf(thrown));
      else void late.then(count, (error: unknown) => count(resultOf(error)));
      throw thrown;
    }
    throw new TurnLost(worker, [...sentBefore, promptId], calls, reason, thrown);
  }
}

/** The CLI reads a command up to the first blank, tab or line break. */
const leading = /^\/([^\s/]+)(?=[ \t\r\n]|$)/;

/** The command that the prompt begins with, if the profile allows it. */
export function allowedCommand(text: string, { commands }: Profile): string | undefined {
  const name = leading.exec(text)?.[1];
  return name !== undefined && commands.includes(name) ? name : undefined;
}

/** The warning for a command that is allowed and that the process does not have. */
export function unknownCommand(name: string): string {
  return `the command /${name} was not run, and the prompt was sent to the model as text: the .claude repository has no command and no skill with this name`;
}
