/** What the supervisor decides about one CLI process before the start of the process. */
import type { CliTimeouts } from './timeouts.ts';
import type { TurnResult } from './turn-result.ts';
import type { UsageLimit } from './usage-limit.ts';

export interface ProcessOptions {
  /** The CLI's executable. */
  path: string;
  arguments: readonly string[];
  environment: Record<string, string>;
  workingDirectory: string;
  /** How long the process may be silent; by default as its environment says. */
  timeouts?: CliTimeouts;
  /**
   * The session that the process was started for. A process that claims another session is killed: any process
   * of the same uid can write to its output.
   */
  sessionId?: string;
  /** Called with the id of the other session, if the process claims one. */
  onForeignSession?: (claimed: string) => void;
  /** Milliseconds that its SessionEnd hooks may take; 0, the default, if it has none. */
  sessionEnd?: number;
  /** Called once if standard output has text that is no message; describes it and quotes nothing. */
  onStray: (what: string) => void;
  /**
   * Whether a scheduled turn is interrupted when it begins. Before its first prompt a process may
   * run no turn without a prompt.
   */
  deniesWakeUps?: boolean;
  /** Called when a turn without a prompt begins, and before a limit that is reported outside of turns. */
  onUnpromptedBegin?: () => void;
  /** Called with what the API reports about the account's limit in a turn without a prompt. */
  onLimit?: (limit: UsageLimit) => void;
  /** The commit of the configuration on the volume. */
  configCommit?: string | undefined;
  /** Called with the result of each turn without a prompt: such a turn costs something too. */
  onUnprompted?: (result: TurnResult) => void;
}
