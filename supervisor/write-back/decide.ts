/**
 * Whether the volume's login takes the place of the one in the live Secret. Pure: no clock of its own.
 * Always holds: a login that is used up or refused never wins; where another pod has written meanwhile
 * the later expiry wins; an older login never replaces a newer one, also where clocks differ.
 */
import type { Credentials } from '../../shared/credentials.ts';
import type { VolumeLogin } from './volume.ts';

/** What the live Secret holds. */
export interface LiveLogin {
  /** Undefined if it holds none that can be used. */
  credentials: Credentials | undefined;
  /** SHA-256 of the source that it descends from, hex, if it says so. */
  source: string | undefined;
}

export interface Circumstances {
  /** Whether a refresh token, by its id, is known to be used up or refused. */
  isSpent: (id: string) => boolean;
  /**
   * Who put the live one there: `unknown` at the first look, `us` if this process wrote it or has
   * decided about it before, `others` if it came since.
   */
  liveBy: 'unknown' | 'us' | 'others';
  /** This process has not seen the volume's login before: the CLI has just written it. */
  isNew: boolean;
  /** Milliseconds since 1970. */
  now: number;
}

/**
 * `same`: the Secret has this login. The others say why the Secret keeps another login: that one
 * expires later, or the volume's login is used up or refused.
 */
export type Decision = 'write' | 'same' | 'expires_later' | 'used_up';

/** Milliseconds by which clocks of two nodes may differ: a refresh here may then seem the earlier. */
const skew = 15 * 60_000;
/** Nothing lasts longer, so who says so is wrong, and must not win for ever. */
const longest = 400 * 24 * 3_600_000;

export function decide(
  volume: VolumeLogin,
  live: LiveLogin,
  circumstances: Circumstances,
): Decision {
  const { isSpent, liveBy, isNew, now } = circumstances;
  const { credentials, source } = volume;
  if (isSpent(volume.id)) return 'used_up';
  if (!live.credentials) return 'write';
  const isOfAnother = source !== undefined && source !== live.source;
  if (live.credentials.text === credentials.text) return isOfAnother ? 'write' : 'same';
  const { refreshTokenId, expiresAt } = live.credentials;
  if (refreshTokenId !== undefined && isSpent(refreshTokenId)) return 'write';
  if (expiresAt > now + longest) return 'write';
  const isLater = credentials.expiresAt > expiresAt;
  if (liveBy === 'others') return isLater ? 'write' : 'expires_later';
  // A person has brought another login, whenever that one ends.
  if (isOfAnother && live.source !== undefined) return 'write';
  const follows = liveBy === 'us' && isNew && credentials.expiresAt > expiresAt - skew;
  return isLater || follows ? 'write' : 'expires_later';
}
