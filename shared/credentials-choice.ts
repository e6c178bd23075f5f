/**
 * The three-way rule: which of the credentials that can be used the CLI gets.
 * Always holds: what the login server just refused never wins; nor does a source that the live login
 * descends from, unless the policy says so, for it was applied and is used up. Refresh tokens are single-use, so losing
 * the refreshed one is the worst failure: where nothing is known about the source (a first run over a
 * volume that somebody else filled), the later expiry wins.
 */
import { type Credentials, fresher } from './credentials.ts';

export type CredentialsName = 'source' | 'live' | 'volume' | 'last_good';
export type CredentialsPolicy = 'fresher' | 'source' | 'volume';

/** Those that can be used, by where they are. */
export type Known = Partial<Record<CredentialsName, Credentials>>;

export interface Circumstances {
  policy: CredentialsPolicy;
  /** Digest of the source that was applied last, if any was. */
  appliedSource: string | undefined;
  /** Digest of the source that the live login descends from, if it can be used and says so. */
  liveSource: string | undefined;
  /** The CLI has blanked its file: the login server refused what was there. */
  blanked: boolean;
  /** What was refused, if that is known. */
  rejected: Credentials | undefined;
}

export function choose(known: Known, circumstances: Circumstances): CredentialsName | undefined {
  const { policy, appliedSource, liveSource, blanked, rejected } = circumstances;
  const usable = withoutRejected(known, rejected);
  const { source, volume, live } = usable;
  if (policy === 'source' && source) return 'source';
  if (policy === 'volume' && volume) return 'volume';
  const wasAppliedElsewhere = source !== undefined && source.digest === liveSource;
  if (wasAppliedElsewhere && source.digest !== appliedSource) {
    // The volume is new, or older than the source, whatever the clocks said.
    if (live && !(volume && isSameLogin(volume, live))) return 'live';
  } else if (source && appliedSource !== undefined && source.digest !== appliedSource) {
    // A person changed it.
    return 'source';
  }
  const isUnknown = appliedSource === undefined && !wasAppliedElsewhere;
  const first = isUnknown ? (['source'] as const) : [];
  const best = latest(usable, ['volume', 'live', ...first]);
  // Older tokens than those that were refused cannot do better.
  if (best || blanked) return best;
  return latest(usable, ['last_good', 'source']);
}

function withoutRejected(known: Known, rejected: Credentials | undefined): Known {
  if (!rejected) return known;
  const entries = Object.entries(known).filter(([, each]) => !isSameLogin(each, rejected));
  return Object.fromEntries(entries);
}

function isSameLogin(a: Credentials, b: Credentials): boolean {
  return a.refreshTokenId === undefined
    ? a.digest === b.digest
    : a.refreshTokenId === b.refreshTokenId;
}

/** The one that ends last; of those that end together the one named first. */
function latest(known: Known, names: readonly CredentialsName[]): CredentialsName | undefined {
  let best: CredentialsName | undefined;
  for (const name of names) {
    const candidate = known[name];
    const current = best && known[best];
    if (candidate && (!current || fresher(current, candidate) === candidate)) best = name;
  }
  return best;
}
