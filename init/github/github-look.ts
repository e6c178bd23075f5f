/**
 * When GitHub's API is asked: at once where git is refused; otherwise beside the git server and once a
 * day at most, for what it says then (the end of the token, a new name) is only a warning.
 * Always holds: a run that goes well does not wait for it, but for two seconds once seven looks in a
 * row were cut short.
 */

import type { Log } from '../../shared/log.ts';
import { within } from '../../shared/waiting.ts';
import { usualTokenPlace } from '../git/token-setting.ts';
import { type Preflight, type PreflightOptions, preflight } from './github.ts';
import type { GitHubApp } from './github-app-settings.ts';
import { remembered } from './github-memory.ts';

const day = 24 * 3_600_000;
/** Milliseconds before its end from which a token is warned about. */
const soon = 14 * day;
/** Looks that may be cut short in a row before one is waited for, and for how many milliseconds. */
const mostCutShort = 7;
const patience = 2_000;

export interface LookOptions extends Omit<PreflightOptions, 'isApp'> {
  stateDirectory: string;
  /** The App that made the token, if one did: each run has another one, and it ends by itself. */
  app?: GitHubApp | undefined;
  /** Milliseconds since 1970. */
  now?: () => number;
}

export interface Look {
  /** What GitHub says: asked now if it was not. For when git is refused. */
  answer(): Promise<Preflight>;
  /** Ends the look where git works: warns of what is known, remembers, cuts short what still runs. */
  finish(): Promise<void>;
  /** Ends whatever still runs. */
  close(): Promise<void>;
}

/** Looks in the background if it is time to. */
export async function lookAtGitHub(options: LookOptions): Promise<Look> {
  const { stateDirectory, app, log, now = Date.now } = options;
  const login = app ? `${app.id} ${app.installationId}` : (options.token ?? '');
  const about = [options.apiUrl, options.path.toLowerCase(), login];
  const known = await remembered(stateDirectory, about);
  const earlier = known.value;
  const end = new AbortController();
  const signal = AbortSignal.any([options.signal, end.signal]);
  const looked = earlier ? now() - Date.parse(earlier.looked_at) : day;
  // A clock that was set back must not put the look off for ever.
  const due = looked >= day || looked < 0;
  const ask = () => preflight({ ...options, isApp: app !== undefined, signal });
  let asked = due ? ask() : undefined;

  return {
    answer() {
      asked ??= ask();
      return asked;
    },
    async finish() {
      let expiry = earlier?.token_expires_at;
      if (asked) {
        const wait = (earlier?.cut_short ?? 0) >= mostCutShort ? patience : 0;
        const found = await within(asked, wait, signal);
        if (found?.problem) {
          log.warn('preflight_warning', `git works, but GitHub's API says: ${found.problem}`);
        }
        if (found?.answered) expiry = found.tokenExpiresAt?.toISOString();
        await known.replace({
          looked_at: new Date(now()).toISOString(),
          cut_short: found?.answered ? 0 : (earlier?.cut_short ?? 0) + 1,
          token_expires_at: expiry,
        });
      }
      if (expiry !== undefined) warnOfEnd(Date.parse(expiry), now(), log, options.tokenPlace);
    },
    async close() {
      end.abort();
      await asked;
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
        ? 'ends within a day'
        : `ends in ${days} day${days > 1 ? 's' : ''}`;
  log.warn('token_expiring', `the git token ${when}; make a new one and put it into ${place}`, {
    token_expires_at: new Date(end).toISOString(),
  });
}
