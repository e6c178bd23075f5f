/** What a turn knows of its login: when it may begin, and what to do when the API did not accept it. */
import type { BerthError } from '../../shared/errors.ts';

export interface LoginUse {
  /** The API has begun to answer. */
  answered(): void;
  /**
   * The API has not accepted the login. Waits, bounded.
   * @returns true if there is another login now, with which to try once more
   * @throws the signal's reason
   */
  refused(signal: AbortSignal): Promise<boolean>;
  /** What the turn is told as that has failed for its login. */
  explain(error: BerthError): BerthError;
  /** To be called when the turn has ended, however. */
  over(): Promise<void>;
}

/** Of a login that nobody renews: an API key, a setup-token. */
export const fixedLogin: LoginUse = {
  answered: () => {},
  refused: async () => false,
  explain: (error) => error,
  over: async () => {},
};
