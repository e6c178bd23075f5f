/**
 * A new login in the mounted Secret: given to the CLI without a restart, by the rule that init keeps to
 * as well. The file is looked at every second instead of watched: a Secret is swapped by a link to a
 * directory, on any file system, and watchers miss that.
 * Always holds: a source that a person changed is applied once; an unchanged one never replaces what
 * the CLI refreshed; one whose refresh token is known to be used up or refused never wins.
 */
import { setInterval as every } from 'node:timers/promises';
import {
  type Credentials,
  credentialsLimit,
  judgeCredentials,
  loginId,
  tokensIn,
} from '../../shared/credentials.ts';
import { type CredentialsPolicy, choose, type Known } from '../../shared/credentials-choice.ts';
import { readAppliedSource, writeAppliedSource } from '../../shared/credentials-memory.ts';
import { messageOf } from '../../shared/errors.ts';
import { readProvided } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { neverShow } from '../../shared/redact.ts';
import { Overtaken, Refreshing } from './login-file.ts';
import type { CredentialsWatch } from './watch.ts';

export interface CredentialsSourceOptions {
  /** The mounted file; it may be missing. */
  path: string;
  stateDirectory: string;
  policy: CredentialsPolicy;
  watch: CredentialsWatch;
  log: Log;
  /** Milliseconds between two looks. */
  interval?: number;
}

export class CredentialsSource {
  readonly #options: CredentialsSourceOptions;
  readonly #stopping = new AbortController();
  #looking: Promise<void> = Promise.resolve();
  #seen: string | undefined;
  #problem: string | undefined;

  constructor(options: CredentialsSourceOptions) {
    this.#options = options;
  }

  /** Looks once, and goes on looking. */
  async start(): Promise<void> {
    await this.#lookOnce();
    this.#looking = this.#goOn();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#looking;
  }

  async #goOn(): Promise<void> {
    const { signal } = this.#stopping;
    try {
      for await (const _ of every(this.#options.interval ?? 1_000, undefined, { signal })) {
        await this.#lookOnce();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #lookOnce(): Promise<void> {
    try {
      const content = await readProvided(this.#options.path, credentialsLimit);
      const seen = content?.toString('base64');
      if (seen === this.#seen) return;
      if (content) await this.#take(content);
      this.#seen = seen;
      this.#problem = undefined;
    } catch (error) {
      if (error instanceof Overtaken || error instanceof Refreshing) this.#postpone();
      else this.#complain(messageOf(error));
    }
  }

  async #take(content: Buffer): Promise<void> {
    const judgement = judgeCredentials(content);
    if (judgement.kind !== 'valid') {
      this.#complain(judgement.kind === 'blank' ? 'it holds no token' : judgement.reason);
      return;
    }
    const { credentials } = judgement;
    for (const token of tokensIn(credentials)) neverShow(token);
    const { stateDirectory, watch, log, path } = this.#options;
    const applied = await readAppliedSource(stateDirectory);
    if (applied === credentials.digest) return;
    if (this.#wins(credentials, applied)) {
      await watch.adopt(credentials);
      log.info('credentials_applied', 'took the new login from the source', {
        path,
        refresh_token_id: credentials.refreshTokenId,
      });
    }
    await writeAppliedSource(stateDirectory, credentials.digest);
  }

  #wins(source: Credentials, appliedSource: string | undefined): boolean {
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
        // At its start init gives an unchanged source precedence; here only a change counts.
        policy: policy === 'source' ? 'fresher' : policy,
        appliedSource,
        // Init has noted what the live login descends from.
        liveSource: undefined,
        blanked: state.kind === 'blank',
        rejected: undefined,
      },
    );
    return chosen === 'source' && source.digest !== volume.volume?.digest;
  }

  /** Tried again at the next look. */
  #postpone(): void {
    const { log, path } = this.#options;
    // Once while a process holds the lock of a refresh, which it may have been killed with.
    const sentence =
      "the login in the source is not taken yet: the CLI's login is just changing; it is tried again";
    if (sentence !== this.#problem)
      log.info('credentials_seen', sentence, { from: 'source', path });
    this.#problem = sentence;
  }

  /** Once for each problem. */
  #complain(why: string): void {
    const { log, path } = this.#options;
    if (why === this.#problem) return;
    this.#problem = why;
    const sentence = `the login in the source cannot be used: ${why}; correct the Secret`;
    log.warn('credentials_unreadable', sentence, { from: 'source', path });
  }
}
