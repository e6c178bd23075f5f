/**
 * Decides when to query GitHub's API: immediately if git is refused; otherwise at the same time as
 * the git server and at most once a day, because its answer (expiry of the token, a new name) is
 * only a warning then.
 * Invariant: a successful run does not wait for the query, except for two seconds after seven
 * interrupted queries in a row. Only the init that stays waits for the answer, and repeats a query
 * that had none.
 */

import type { Log } from '../../shared/log.ts';
import type { Owner } from '../../shared/owner.ts';
import { within } from '../../shared/waiting.ts';
import { usualTokenPlace } from '../git/token-setting.ts';
import { type Preflight, type PreflightOptions, preflight } from './github.ts';
import type { GitHubApp } from './github-app-settings.ts';
import { remembered } from './github-memory.ts';

const day = 24 * 3_600_000;
/** Milliseconds before its expiry from which a token causes a warning. */
const soon = 14 * day;
/**
 * The number of interrupted queries in a row before a run waits for one, and for how many
 * milliseconds.
 */
const mostCutShort = 7;
const patience = 2_000;

export interface GitHubQueryOptions extends Omit<PreflightOptions, 'isApp'> {
  stateDirectory: string;
  /**
   * The App that created the token, if any: each run has a new token, and it expires soon anyway.
   */
  app?: GitHubApp | undefined;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** Milliseconds that `finish` waits for a running query. */
  patience?: number;
  /** Whether a query is due again after one that had no answer. */
  repeats?: boolean;
  /** The owner of the record on the volume. */
  owner?: Owner;
}

export interface GitHubQuery {
  /** GitHub's answer; queried now if it was not queried yet. For the case that git is refused. */
  answer(): Promise<Preflight>;
  /**
   * Ends the query if git works: warns about known problems, records the result, interrupts a
   * running query.
   * @returns false if the last query had no answer
   */
  finish(): Promise<boolean>;
  /** Ends a running query. */
  close(): Promise<void>;
}

/** Starts a query in the background if one is due. */
export async function startGitHubQuery(options: GitHubQueryOptions): Promise<GitHubQuery> {
  const { stateDirectory, app, log, now = Date.now, owner } = options;
  const login = app ? `${app.id} ${app.installationId}` : (options.token ?? '');
  const about = [options.apiUrl, options.path.toLowerCase(), login];
  const known = await remembered(stateDirectory, about, owner);
  const earlier = known.value;
  const end = new AbortController();
  const signal = AbortSignal.any([options.signal, end.signal]);
  const sinceLast = earlier ? now() - Date.parse(earlier.looked_at) : day;
  const cuts = earlier?.cut_short ?? 0;
  const isRepeat = cuts > 0 && options.repeats === true;
  // A clock that was set back must not delay the query for ever.
  const due = sinceLast >= day || sinceLast < 0 || isRepeat;
  const query = () => preflight({ ...options, isApp: app !== undefined, signal });
  let running = due ? query() : undefined;

  return {
    answer() {
      running ??= query();
      return running;
    },
    async finish() {
      let expiry = earlier?.token_expires_at;
      let answered = cuts === 0;
      if (running) {
        const usual = cuts >= mostCutShort ? patience : 0;
        const wait = options.patience ?? usual;
        const found = await within(running, wait, signal);
        if (found?.problem) {
          log.warn('preflight_warning', `git works, but GitHub's API reports: ${found.problem}`);
        }
        answered = found?.answered ?? false;
        if (found?.answered) expiry = found.tokenExpiresAt?.toISOString();
        await known.replace({
          looked_at: new Date(now()).toISOString(),
          cut_short: answered ? 0 : isRepeat ? cuts : cuts + 1,
          token_expires_at: expiry,
        });
      }
      if (expiry !== undefined) warnOfEnd(Date.parse(expiry), now(), log, options.tokenPlace);
      return answered;
    },
    async close() {
      end.abort();
      await running;
    },
  };
}

function warnOfEnd(end: number, now: number, log: Log, place = usualTokenPlace): void {
  const left = end - now;
  if (left >= soon) return;
  const days = Math.floor(left / day);
  const when =
    left <= 0
      ? 'has ended'
      : days < 1
        ? 'expires within a day'
        : `expires in ${days} day${days > 1 ? 's' : ''}`;
  log.warn('token_expiring', `the git token ${when}; create a new token and put it into ${place}`, {
    token_expires_at: new Date(end).toISOString(),
  });
}
