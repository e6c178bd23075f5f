/**
 * Decides whether the volume's login replaces the login in the live Secret. Pure: without a clock
 * of its own.
 * Invariants: a used up or refused login never wins. If another pod has written meanwhile, the
 * later expiry wins. An older login never replaces a newer login, even if clocks differ.
 */
import { type Credentials, isSameSource, type SourceId } from '../../shared/credentials.ts';
import type { VolumeLogin } from './volume.ts';

/** The content of the live Secret. */
export interface LiveLogin {
  /** Undefined without a usable login. */
  credentials: Credentials | undefined;
  /** The source from which the login descends, if the Secret names it. */
  source: SourceId | undefined;
}

export interface Circumstances {
  /** Whether a refresh token, by its id, is known to be used up or refused. */
  isSpent: (id: string) => boolean;
  /**
   * Who wrote the live login: `unknown` at the first read, `us` if this process wrote it or has
   * decided about it before, `others` if it changed since.
   */
  liveBy: 'unknown' | 'us' | 'others';
  /** This process has not seen the volume's login before: the CLI has just written it. */
  isNew: boolean;
  /** Milliseconds since 1970. */
  now: number;
}

/**
 * `same`: the Secret has this login. The other values are the reason why the Secret keeps its
 * login: it expires later, or the volume's login is used up or refused.
 */
export type Decision = 'write' | 'same' | 'expires_later' | 'used_up';

/**
 * Milliseconds by which clocks of two nodes may differ: a refresh on this node may appear older.
 */
const skew = 15 * 60_000;
/** No login lasts longer: a later expiry is wrong, and must not win for ever. */
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
  const isOfAnother = source !== undefined && !isSameSource(source, live.source);
  if (live.credentials.text === credentials.text) return isOfAnother ? 'write' : 'same';
  const { refreshTokenId, expiresAt } = live.credentials;
  if (refreshTokenId !== undefined && isSpent(refreshTokenId)) return 'write';
  if (expiresAt > now + longest) return 'write';
  const isLater = credentials.expiresAt > expiresAt;
  if (liveBy === 'others') return isLater ? 'write' : 'expires_later';
  // A person has provided another login, whenever it expires.
  if (isOfAnother && live.source !== undefined) return 'write';
  const follows = liveBy === 'us' && isNew && credentials.expiresAt > expiresAt - skew;
  return isLater || follows ? 'write' : 'expires_later';
}
