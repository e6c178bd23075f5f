import fc from 'fast-check';
import t from 'tap';
import { type Credentials, judgeCredentials, type SourceId } from '../../../shared/credentials.ts';
import {
  type Circumstances,
  type Decision,
  decide,
} from '../../../supervisor/write-back/decide.ts';
import { hour, login } from './fixture.ts';

const [one, two] = [{ digest: '1'.repeat(64) }, { digest: '2'.repeat(64) }];

function parse(text: string): Credentials {
  const judgement = judgeCredentials(text);
  if (judgement.kind !== 'valid') throw new Error(judgement.kind);
  return judgement.credentials;
}

/** A login and its source, or no login. */
type Side = [id: string, hours: number, source?: SourceId] | undefined;

function decided(
  [id, hours, source]: NonNullable<Side>,
  live: Side,
  more: Partial<Circumstances> & { spent?: string[] } = {},
): Decision {
  const { spent = [], ...circumstances } = more;
  const ids = spent.map((each) => parse(login(each)).refreshTokenId);
  const credentials = parse(login(id, hours));
  return decide(
    { credentials, id: credentials.refreshTokenId ?? '', source },
    { credentials: live && parse(login(live[0], live[1])), source: live?.[2] },
    {
      isSpent: (each) => ids.includes(each),
      ...{ liveBy: 'unknown', isNew: true, now: Date.now(), ...circumstances },
    },
  );
}

const rendered = { digest: '3'.repeat(64), loginDigest: '5'.repeat(64) };
const again = { ...rendered, digest: '4'.repeat(64) };

const us = { liveBy: 'us' } as const;
const others = { liveBy: 'others' } as const;

const cases: [
  sentence: string,
  expected: Decision,
  volume: NonNullable<Side>,
  live: Side,
  more?: Parameters<typeof decided>[2],
][] = [
  ['an empty Secret gets the login', 'write', ['a', 8], undefined],
  ['a refreshed login replaces its forerunner', 'write', ['b', 16, one], ['a', 8, one]],
  ['the same login is there already', 'same', ['a', 8, one], ['a', 8, one]],
  ['a source that is not known any more is no news', 'same', ['a', 8], ['a', 8, one]],
  ['the same login of a source that is known now', 'write', ['a', 8, one], ['a', 8]],
  ['a source that is rendered again is no other', 'same', ['a', 8, again], ['a', 8, rendered]],
  ['nor with an older login', 'expires_later', ['a', 8, again], ['b', 16, rendered]],
  ['an older login stays out', 'expires_later', ['a', 8, one], ['b', 16, one]],
  ['an older one stays out, whatever came between', 'expires_later', ['a', 8], ['b', 16], us],
  ['one that is used up stays out', 'used_up', ['a', 16], ['b', 8], { spent: ['a'] }],
  [
    'one that is used up does not fill an empty Secret',
    'used_up',
    ['a', 8],
    undefined,
    { spent: ['a'] },
  ],
  ['what is used up gives way, whenever it ends', 'write', ['b', 8], ['a', 9], { spent: ['a'] }],
  ['a clock that is set back: a refresh under our eyes', 'write', ['b', 7.84], ['a', 8], us],
  [
    'one that was there before is no refresh',
    'expires_later',
    ['b', 7.84],
    ['a', 8],
    { ...us, isNew: false },
  ],
  ['a copy of this morning is no skew', 'expires_later', ['b', 7], ['a', 8], us],
  ["another pod's later login stays", 'expires_later', ['a', 7.84], ['b', 8], others],
  ["another pod's earlier login goes", 'write', ['a', 8], ['b', 7.84], others],
  ['a new login of a person counts, whenever it ends', 'write', ['p', 1, two], ['b', 16, one]],
  ['also under our eyes', 'write', ['p', 1, two], ['b', 16, one], us],
  ['not against what another pod wrote', 'expires_later', ['p', 1, two], ['b', 16, one], others],
  ['no end that far away holds the Secret for ever', 'write', ['a', 8, one], ['x', 24 * 800, one]],
];

for (const [sentence, expected, volume, live, more] of cases) {
  t.test(sentence, (t) => {
    t.equal(decided(volume, live, more), expected);
    t.end();
  });
}

t.test('an older login of the same source never wins by its expiry', (t) => {
  const hours = fc.integer({ min: 1, max: 9_000 });
  fc.assert(
    fc.property(
      ...([hours, hours, fc.constantFrom('unknown', 'us', 'others'), fc.boolean()] as const),
      (a, b, liveBy, isNew) => {
        fc.pre(a !== b);
        const [older, newer] = a < b ? [a, b] : [b, a];
        const circumstances = { liveBy, isNew, now: Date.now() } as Circumstances;
        return (
          decided(['old', older, one], ['new', newer, one], circumstances) === 'expires_later' &&
          decided(['new', newer, one], ['old', older, one], circumstances) === 'write'
        );
      },
    ),
    { seed: 6, numRuns: 300 },
  );
  t.ok(9_000 * hour < 400 * 24 * hour);
  t.end();
});
