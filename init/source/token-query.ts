/**
 * Queries GitHub for the expiry of the git token while init stays: once a day, and at once for another token.
 * Invariants: a failure is only a warning. Nothing is queried without a token, and for a GitHub App, whose tokens end
 * within the hour anyway.
 */
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';
import { openDispatcher } from '../git/transport.ts';
import { isRoot } from '../volume/ownership.ts';

const day = 24 * 3_600_000;
/** Milliseconds to wait for the answer of GitHub. */
const patience = 5_000;

export class TokenQuery {
  /** The token of the last query, and its time by performance.now(). */
  #last: { token: string; at: number } | undefined;

  /** @returns whether the record on the volume may have changed; never rejects */
  async runIfDue(config: InitConfig, log: Log, signal: AbortSignal): Promise<boolean> {
    const { githubApiUrl: apiUrl, githubApp, token, tokenPlace } = config;
    if (apiUrl === undefined || githubApp || token === undefined) return false;
    const now = performance.now();
    if (this.#last?.token === token && now - this.#last.at < day) return false;
    this.#last = { token, at: now };
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
        },
        ...(isRoot() ? { owner } : {}),
      });
      await query.finish();
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
