/** The login of a turn: when the turn may begin, and what to do when the API refuses the login. */
import type { BerthError } from '../../shared/errors.ts';
import type { Prompt } from './prompt.ts';

export interface Logins {
  /** The key of the login that a prompt uses: prompts with the same key share their limits. */
  keyOf(prompt: Prompt): string;
  /**
   * Resolves when a turn may begin with the login of the prompt; undefined for a login that berth does not
   * renew, such as an API key or a setup-token.
   * @throws the signal's reason
   */
  use(prompt: Prompt, signal: AbortSignal): Promise<LoginUse | undefined>;
}

export interface LoginUse {
  /** The API has begun to answer. */
  answered(): void;
  /**
   * The API has refused the login. Waits for a new login, bounded.
   * @returns true if there is a new login, with which the turn can be tried once more
   * @throws the signal's reason
   */
  refused(signal: AbortSignal): Promise<boolean>;
  /** Returns the error, completed with the state of the login. */
  explain(error: BerthError): BerthError;
  /** Call it when the turn has ended, with an answer or an error. */
  over(): Promise<void>;
}
