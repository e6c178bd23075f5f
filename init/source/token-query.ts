/**
 * Queries GitHub for the expiry of the git token while init stays: once a day, an hour after a query that had no answer,
 * and at once for another token.
 * Invariants: a failure is only a warning. Nothing is queried without a token, and for a GitHub App, whose tokens end
 * within the hour anyway.
 */
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';
import { openDispatcher } from '../git/transport.ts';
import { isRoot } from '../volume/ownership.ts';

const hour = 3_600_000;
const day = 24 * hour;
/** Milliseconds to wait for the answer of GitHub. */
const patience = 10_000;

export class TokenQuery {
  /** The token of the last query, and the time of the next one by performance.now(). */
  #last: { token: string; next: number } | undefined;

  /** @returns whether the record on the volume may have changed; never rejects */
  async runIfDue(config: InitConfig, log: Log, signal: AbortSignal): Promise<boolean> {
    const { githubApiUrl: apiUrl, githubApp, token, tokenPlace } = config;
    if (apiUrl === undefined || githubApp || token === undefined) return false;
    const now = performance.now();
    if (this.#last?.token === token && now < this.#last.next) return false;
    this.#last = { token, next: now + hour };
    const { repository, ref, stateDirectory, owner } = config;
    const { path } = repository;
    const dispatcher = openDispatcher();
    try {
      const { startGitHubQuery } = await import('../github/github-query.ts');
      const query = await startGitHubQuery({
        ...{
          apiUrl,
          path,
          ref,
          token,
          tokenPlace,
          dispatcher,
          signal,
          log,
          stateDirectory,
          patience,
          repeats: true,
        },
        ...(isRoot() ? { owner } : {}),
      });
      if (await query.finish()) this.#last.next = now + day;
      await query.close();
    } catch (error) {
      const text = `the expiry of the git token is not known: ${messageOf(error)}`;
      log.warn('preflight_warning', text, { error: messageOf(error) });
    } finally {
      await dispatcher.destroy();
    }
    return true;
  }
}
