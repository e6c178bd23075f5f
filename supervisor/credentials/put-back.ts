/**
 * Puts the last good login back where the CLI was left with none, and tries again for as long as the
 * volume cannot be written (it is full, or read-only), or a refresh is under way.
 * Always holds: once for each refresh token, and never one that was just refused or used up; one whose
 * putting back has failed counts as not tried.
 */
import { type Credentials, loginId } from '../../shared/credentials.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { LoginHistory } from './history.ts';
import type { LastGood } from './last-good.ts';
import { type LoginFile, Overtaken, type Seen } from './login-file.ts';

export interface PutBackOptions {
  file: LoginFile;
  history: LoginHistory;
  lastGood: LastGood;
  log: Log;
  /** It is time for another try. */
  onDue: () => void;
  /** Milliseconds until the second try; the next pauses are longer. */
  pause?: number | undefined;
}

/** What has come of it: `none` if no login is left that could be put back. */
export type PutBackOutcome = 'put_back' | 'overtaken' | 'failed' | 'none';

export interface Waiting {
  /** Milliseconds since 1970: when the first try failed. */
  since: number;
  attempts: number;
  /** Of the last try. */
  error: unknown;
}

/** Milliseconds between two tries. */
const longestPause = 30_000;

export class PutBack {
  readonly #options: PutBackOptions;
  #waiting: Waiting | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PutBackOptions) {
    this.#options = options;
  }

  /** Of a login that waits for the volume or for a refresh; undefined if none does. */
  get waiting(): Waiting | undefined {
    return this.#waiting;
  }

  /**
   * @param kind what the file was judged to be, for the log
   * @param judged what was judged: nothing else is replaced
   */
  async try(kind: string, judged: Seen): Promise<PutBackOutcome> {
    const { file, history, lastGood } = this.#options;
    clearTimeout(this.#timer);
    const kept = await lastGood.all();
    const fates = ['refused', 'superseded', 'put_back'] as const;
    const good = kept.find((each) => !fates.some((fate) => history.is(fate, loginId(each))));
    if (!good) return this.#over('none');
    // Noted first: killed in between, it is not tried for ever.
    await history.note('put_back', loginId(good));
    try {
      await file.replace(good, judged);
    } catch (error) {
      // It was not tried: it may be the next time.
      await history.takeBack('put_back', loginId(good));
      if (error instanceof Overtaken) return this.#over('overtaken');
      this.#wait(error);
      return 'failed';
    }
    this.#tell(kind, good);
    return this.#over('put_back');
  }

  /** Something else is there now: the need is gone, or another one. */
  forget(): void {
    clearTimeout(this.#timer);
    this.#waiting = undefined;
  }

  #over(outcome: PutBackOutcome): PutBackOutcome {
    this.forget();
    return outcome;
  }

  #wait(error: unknown): void {
    const { log, onDue, pause = 1_000 } = this.#options;
    const { since, attempts } = this.#waiting ?? { since: performance.now(), attempts: 0 };
    this.#waiting = { since, attempts: attempts + 1, error };
    const wait = Math.min(longestPause, pause * 2 ** attempts);
    const text = `cannot put the last good login back: ${messageOf(error)}; it is tried again`;
    const facts = { attempts: attempts + 1, retry_ms: wait, error };
    // The others say the same.
    log[attempts === 0 ? 'error' : 'debug']('credentials_unkept', text, facts);
    this.#timer = setTimeout(onDue, wait);
  }

  #tell(kind: string, { refreshTokenId }: Credentials): void {
    const waited = this.#waiting && {
      attempts: this.#waiting.attempts + 1,
      waited_ms: Math.round(performance.now() - this.#waiting.since),
    };
    const text = `put the last good login back: the file was ${kind}`;
    const facts = { state: kind, refresh_token_id: refreshTokenId, ...waited };
    this.#options.log.warn('credentials_put_back', text, facts);
  }
}
