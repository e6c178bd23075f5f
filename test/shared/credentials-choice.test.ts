/** The three-way rule, over every combination of what can be there. */
import fc from 'fast-check';
import t from 'tap';
import type { Credentials } from '../../shared/credentials.ts';
import { type Circumstances, choose, type Known } from '../../shared/credentials-choice.ts';

const names = ['source', 'live', 'volume', 'last_good'] as const;

/** Few different ones, so that the same login often lies in two places. */
const credentials: fc.Arbitrary<Credentials> = fc
  .record({ login: fc.integer({ min: 1, max: 4 }), hours: fc.integer({ min: 1, max: 3 }) })
  .map(({ login, hours }) => ({
    text: `${login} ${hours}`,
    digest: `${login} ${hours}`,
    loginDigest: `${login} ${hours}`,
    expiresAt: hours,
    refreshTokenExpiresAt: undefined,
    accessTokenId: '000000000000',
    refreshTokenId: login === 4 ? undefined : String(login),
  }));

const known: fc.Arbitrary<Known> = fc
  .tuple(...names.map(() => fc.option(credentials, { nil: undefined })))
  .map((found) =>
    Object.fromEntries(names.map((name, index) => [name, found[index]]).filter(([, one]) => one)),
  );

/** What the volume has is valid or blanked, never both. */
const situation = fc
  .record({
    known,
    policy: fc.constantFrom('fresher', 'source', 'volume'),
    blanked: fc.boolean(),
    applied: fc.constantFrom('none', 'this', 'another'),
    lineage: fc.constantFrom('none', 'this', 'another'),
  })
  .map(({ known: all, policy, blanked, applied, lineage }) => {
    const { volume, ...others } = all;
    const usable: Known = { ...(blanked || !volume ? others : all) };
    // A live login of another source is dropped before.
    if (lineage === 'another' && all.source) delete usable.live;
    const liveSource = all.live && lineage === 'this' ? all.source : undefined;
    const appliedSource =
      applied === 'none' ? undefined : applied === 'this' ? all.source : { digest: 'another' };
    const rejected = blanked ? all.last_good : undefined;
    const circumstances = { policy, blanked, appliedSource, liveSource, rejected } as Circumstances;
    return { known: usable, circumstances };
  });

type Situation = { known: Known; circumstances: Circumstances };

/** Holds of every situation; a seed makes a failure repeatable. */
function always(holds: (situation: Situation, chosen: Credentials | undefined) => boolean): void {
  const property = fc.property(situation, (one) => {
    const name = choose(one.known, one.circumstances);
    return holds(one, name && one.known[name]);
  });
  fc.assert(property, { seed: 3, numRuns: 2_000 });
}

function isRejected(one: Credentials | undefined, { rejected }: Circumstances): boolean {
  if (!one || !rejected) return false;
  return one.refreshTokenId === undefined
    ? one.digest === rejected.digest
    : one.refreshTokenId === rejected.refreshTokenId;
}

t.test('a login that was just refused never wins', async () => {
  always(({ circumstances }, chosen) => !isRejected(chosen, circumstances));
});

t.test(
  'a source that a person changed wins, unless it was applied elsewhere or refused, or the policy is volume',
  async () => {
    always(({ known: { source, volume }, circumstances }, chosen) => {
      const { appliedSource, liveSource, policy } = circumstances;
      if (!source || appliedSource === undefined || source.digest === appliedSource.digest)
        return true;
      if (source.digest === liveSource?.digest && policy !== 'source') return true;
      if (isRejected(source, circumstances) || (policy === 'volume' && volume)) return true;
      return chosen === source;
    });
  },
);

t.test('an unchanged source never wins over the login on the volume', async () => {
  always(({ known: { source, volume }, circumstances }, chosen) => {
    const { appliedSource, policy } = circumstances;
    if (policy === 'source' || !volume || source?.digest !== appliedSource?.digest) return true;
    return chosen !== source || source === undefined;
  });
});

t.test('a source never wins over the live login that descends from it', async (t) => {
  let met = 0;
  always(({ known: { source, live }, circumstances }, chosen) => {
    const { liveSource, policy } = circumstances;
    const applies = source && live && source.digest === liveSource?.digest && policy !== 'source';
    if (!applies || isRejected(live, circumstances)) return true;
    met += 1;
    return chosen !== undefined && chosen !== source;
  });
  t.ok(met > 50, 'the situation was met');
});

t.test('a volume that has not seen the source gets the live login of it', async (t) => {
  let met = 0;
  always(({ known: { source, live, volume }, circumstances }, chosen) => {
    const { liveSource, appliedSource, policy } = circumstances;
    const isBehind =
      source && source.digest === liveSource?.digest && source.digest !== appliedSource?.digest;
    if (!live || !isBehind || policy === 'source' || (policy === 'volume' && volume)) return true;
    if (isRejected(live, circumstances)) return true;
    met += 1;
    const isSame = volume && isRejected(volume, { ...circumstances, rejected: live });
    return isSame ? chosen === volume || chosen === live : chosen === live;
  });
  t.ok(met > 50, 'the situation was met');
});

t.test('of the volume and the live source the later expiry wins', async () => {
  always(({ known: { source, live, volume }, circumstances }, chosen) => {
    const { appliedSource, policy } = circumstances;
    const decided = policy !== 'fresher' || (source && source.digest !== appliedSource?.digest);
    if (decided || !live || !volume) return true;
    return chosen === (live.expiresAt > volume.expiresAt ? live : volume);
  });
});

t.test('a valid login on the volume is never replaced by the last good login', async () => {
  always(({ known: { volume, last_good }, circumstances }, chosen) => {
    if (!volume || circumstances.policy === 'source') return true;
    return chosen !== undefined && (chosen !== last_good || chosen === volume);
  });
});

t.test('after a refusal, the last good login is not tried again', async () => {
  always(({ known: { last_good }, circumstances: { blanked } }, chosen) => {
    return !blanked || chosen === undefined || chosen !== last_good;
  });
});
