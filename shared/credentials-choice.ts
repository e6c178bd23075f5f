/**
 * Selects which of the usable credentials the CLI gets, by the three-way rule.
 * Invariants: credentials that the login server just refused never win. A source from which the
 * live login descends never wins, because it was already applied and is used up; the policy can
 * override this. A refresh token works once, so losing a refreshed token is the worst failure. If
 * nothing is known about the source (a first run with a volume that something else filled), the
 * later expiry wins.
 */
import { type Credentials, fresher, isSameSource, type SourceId } from './credentials.ts';

export type CredentialsName = 'source' | 'live' | 'volume' | 'last_good';
export type CredentialsPolicy = 'fresher' | 'source' | 'volume';

/** The usable credentials by their location. */
export type Known = Partial<Record<CredentialsName, Credentials>>;

export interface Circumstances {
  policy: CredentialsPolicy;
  /** The source that was applied last, if there is one. */
  appliedSource: SourceId | undefined;
  /** The source from which the live login descends, if the login is usable and names it. */
  liveSource: SourceId | undefined;
  /** The CLI has blanked its file, because the login server refused the login. */
  blanked: boolean;
  /** The refused credentials, if they are known. */
  rejected: Credentials | undefined;
}

export function choose(known: Known, circumstances: Circumstances): CredentialsName | undefined {
  const { policy, appliedSource, liveSource, blanked, rejected } = circumstances;
  const usable = withoutRejected(known, rejected);
  const { source, volume, live } = usable;
  if (policy === 'source' && source) return 'source';
  if (policy === 'volume' && volume) return 'volume';
  const wasApplied = source !== undefined && isSameSource(source, appliedSource);
  const wasAppliedElsewhere = source !== undefined && isSameSource(source, liveSource);
  if (wasAppliedElsewhere && !wasApplied) {
    // The volume is new, or older than the source, whatever its timestamps are.
    if (live && !(volume && isSameLogin(volume, live))) return 'live';
  } else if (source && appliedSource !== undefined && !wasApplied) {
    // A person changed the source.
    return 'source';
  }
  const isUnknown = appliedSource === undefined && !wasAppliedElsewhere;
  const first = isUnknown ? (['source'] as const) : [];
  const best = latest(usable, ['volume', 'live', ...first]);
  // Tokens that are older than the refused tokens cannot be better.
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

/** The name of the credentials that expire last; of equal ones the first in `names`. */
function latest(known: Known, names: readonly CredentialsName[]): CredentialsName | undefined {
  let best: CredentialsName | undefined;
  for (const name of names) {
    const candidate = known[name];
    const current = best && known[best];
    if (candidate && (!current || fresher(current, candidate) === candidate)) best = name;
  }
  return best;
}
