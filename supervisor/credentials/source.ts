/**
 * Gives the CLI a new login from the mounted Secret without a restart, by the same rule as init. The file is
 * read every second, not watched: the kubelet swaps a link to a directory, which watchers miss.
 * Invariants: a source that a person changed is applied once; an unchanged source never replaces what the
 * CLI has refreshed; a source whose refresh token is used up or was refused is never applied.
 */
import {
  type Credentials,
  credentialsLimit,
  hideTokens,
  isSameSource,
  judgeCredentials,
  loginId,
  type SourceId,
} from '../../shared/credentials.ts';
import { type CredentialsPolicy, choose, type Known } from '../../shared/credentials-choice.ts';
import { readAppliedSource, writeAppliedSource } from '../../shared/credentials-memory.ts';
import { messageOf } from '../../shared/errors.ts';
import { readProvided } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { pause } from '../../shared/waiting.ts';
import { LoginFileChanged, RefreshUnderWay } from './login-file.ts';
import type { CredentialsWatch } from './watch.ts';

export interface CredentialsSourceOptions {
  /** The mounted file; it may be missing. */
  path: string;
  stateDirectory: string;
  policy: CredentialsPolicy;
  watch: CredentialsWatch;
  log: Log;
  /** Milliseconds between two reads. */
  interval?: number;
}

export class CredentialsSource {
  readonly #options: CredentialsSourceOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  /** The content that was dealt with last. */
  #seen: string | undefined;
  /** The problem that was logged last. */
  #problem: string | undefined;

  constructor(options: CredentialsSourceOptions) {
    this.#options = options;
  }

  /** Resolves after the first read. */
  async start(): Promise<void> {
    await this.#read();
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await pause(this.#options.interval ?? 1_000, signal);
      if (!signal.aborted) await this.#read();
    }
  }

  async #read(): Promise<void> {
    try {
      const content = await readProvided(this.#options.path, credentialsLimit);
      const seen = content?.toString('base64');
      if (seen !== this.#seen && content) await this.#apply(content);
      this.#seen = seen;
      // The next problem is a new one, also if its text is the same.
      this.#problem = undefined;
    } catch (error) {
      if (error instanceof LoginFileChanged || error instanceof RefreshUnderWay) this.#postpone();
      else this.#warn(messageOf(error));
    }
  }

  async #apply(content: Buffer): Promise<void> {
    const judgement = judgeCredentials(content);
    if (judgement.kind !== 'valid') {
      this.#warn(judgement.kind === 'blank' ? 'it holds no token' : judgement.reason);
      return;
    }
    const { credentials } = judgement;
    hideTokens(credentials);
    const { stateDirectory, watch, log, path } = this.#options;
    const applied = await readAppliedSource(stateDirectory);
    if (applied?.digest === credentials.digest) return;
    if (!isSameSource(credentials, applied) && this.#wins(credentials, applied)) {
      await watch.adopt(credentials);
      log.info('credentials_applied', 'adopted the new login of the source', {
        path,
        refresh_token_id: credentials.refreshTokenId,
      });
    }
    await writeAppliedSource(stateDirectory, credentials);
  }

  #wins(source: Credentials, appliedSource: SourceId | undefined): boolean {
    const { watch, policy, log, path } = this.#options;
    const { history, state } = watch;
    const fate = (['superseded', 'refused'] as const).find((each) =>
      history.is(each, loginId(source)),
    );
    if (fate) {
      log.warn('credentials_unreadable', `the login in the source is ${fate}: log in anew`, {
        from: 'source',
        path,
      });
      return false;
    }
    const volume: Known = state.kind === 'valid' ? { volume: state.credentials } : {};
    const chosen = choose(
      { source, ...volume },
      {
        // At the start init gives an unchanged source precedence; here only a change counts.
        policy: policy === 'source' ? 'fresher' : policy,
        appliedSource,
        // Init has recorded which source the live login descends from.
        liveSource: undefined,
        blanked: state.kind === 'blank',
        rejected: undefined,
      },
    );
    return chosen === 'source' && source.digest !== volume.volume?.digest;
  }

  /** The source is applied at a later read. Logged once: a process that was killed in a refresh leaves its lock. */
  #postpone(): void {
    const text =
      "the login in the source is not applied yet: the CLI's login is changing now; berth retries";
    this.#logOnce(text, (facts) => this.#options.log.info('credentials_seen', text, facts));
  }

  #warn(cause: string): void {
    const text = `the login in the source cannot be used: ${cause}; correct the Secret`;
    this.#logOnce(text, (facts) => this.#options.log.warn('credentials_unreadable', text, facts));
  }

  #logOnce(problem: string, write: (facts: Record<string, unknown>) => void): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    write({ from: 'source', path: this.#options.path });
  }
}
