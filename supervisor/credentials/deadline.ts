/**
 * Determines the time by which a person must log in again, and the advice for it. In newer CLIs the
 * login file has that time; otherwise it is estimated from the first sight of the login.
 * Invariant: the functions are pure, without a clock.
 */
import { type Credentials, loginRemedy } from '../../shared/credentials.ts';

const day = 24 * 3_600_000;
/** Logins have lasted 27 to 30 days, independent of refreshes. */
const loginLasts = 27 * day;
/** A token of `claude setup-token` lasts a year. */
const setupTokenLasts = 365 * day;
/** The time before the end from which the advice is shown. */
const loginWarning = 7 * day;
const setupTokenWarning = 30 * day;

export interface Deadline {
  /** Milliseconds since 1970. */
  at: number;
  /** True if it is counted from when the login was seen first. */
  estimated: boolean;
  of: 'login' | 'setup-token';
}

/** @param since when the login was seen first, ms since 1970 */
export function loginDeadline(
  credentials: Credentials,
  since: number | undefined,
): Deadline | undefined {
  const { refreshTokenExpiresAt: at } = credentials;
  if (at !== undefined) return { at, estimated: false, of: 'login' };
  return since === undefined ? undefined : { at: since + loginLasts, estimated: true, of: 'login' };
}

export function setupTokenDeadline(since: number): Deadline {
  return { at: since + setupTokenLasts, estimated: true, of: 'setup-token' };
}

/** The next step for a person; undefined while there is time. */
export function adviceOn(deadline: Deadline, now: number): string | undefined {
  const { at, estimated, of } = deadline;
  const left = at - now;
  if (left > (of === 'login' ? loginWarning : setupTokenWarning)) return undefined;
  const name = of === 'login' ? 'the login' : 'the setup-token';
  const guess = estimated ? ' (an estimate)' : '';
  if (left <= 0)
    return `${name} has ended at ${new Date(at).toISOString()}${guess}; ${loginRemedy}`;
  const days = Math.floor(left / day);
  const when = days === 0 ? 'today or tomorrow' : `in ${days} ${days === 1 ? 'day' : 'days'}`;
  return `${name} ends ${when}${guess}, and no refresh extends it; ${loginRemedy} before`;
}
