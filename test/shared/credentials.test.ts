import t from 'tap';
import { fresher, hideTokens, judgeCredentials } from '../../shared/credentials.ts';
import { redact } from '../../shared/redact.ts';

const file = (fields: object = {}) =>
  JSON.stringify({
    claudeAiOauth: {
      accessToken: 'access',
      refreshToken: 'refresh',
      expiresAt: 1_000,
      scopes: ['user:inference'],
      subscriptionType: 'max',
      ...fields,
    },
    other: true,
  });

function valid(text: string) {
  const judged = judgeCredentials(text);
  if (judged.kind !== 'valid') throw new Error(judged.kind);
  return judged.credentials;
}

t.test('the digest of a login depends on its fields, not on the layout of the file', async (t) => {
  const { loginDigest } = valid(file());
  const { claudeAiOauth } = JSON.parse(file());
  const reversed = Object.fromEntries(Object.entries(claudeAiOauth).reverse());
  t.equal(
    valid(`${JSON.stringify({ claudeAiOauth: reversed }, null, 2)}\n`).loginDigest,
    loginDigest,
  );
  for (const other of [{ refreshToken: 'x' }, { scopes: ['x'] }, { subscriptionType: 'pro' }]) {
    t.not(valid(file(other)).loginDigest, loginDigest);
  }
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  t.equal(valid(file().replace('"max"', `"max","x":${deep}`)).loginDigest, loginDigest);
});

t.test('a login written by the CLI is valid, and its text keeps unknown fields', async (t) => {
  const text = file({ refreshTokenExpiresAt: 2_000 });
  t.match(valid(text), { text, expiresAt: 1_000, refreshTokenExpiresAt: 2_000 });
  t.match(valid(text).refreshTokenId, /^[0-9a-f]{12}$/);
  t.equal(valid(file({ refreshToken: null })).refreshTokenId, undefined);
  t.strictSame(judgeCredentials(Buffer.from(text)), judgeCredentials(text));
});

t.test('the file that the CLI leaves after a refused login is blank', async (t) => {
  const judged = judgeCredentials(file({ accessToken: '', refreshToken: '', expiresAt: 0 }));
  t.strictSame(judged, { kind: 'blank' });
});

t.test('everything else is torn, with the reason', async (t) => {
  for (const text of ['', '  ', '{', 'null', '[]', '{}', '{"claudeAiOauth":null}']) {
    t.match(judgeCredentials(text), { kind: 'torn', reason: String }, text);
  }
  t.match(judgeCredentials(file({ scopes: [] })), { kind: 'torn', reason: /scopes/ });
  t.match(judgeCredentials(file({ expiresAt: 'soon' })), { kind: 'torn', reason: /expiresAt/ });
  for (const expiresAt of [1e300, 8.64e15 + 1, -1]) {
    t.match(
      judgeCredentials(file({ expiresAt })),
      { kind: 'torn', reason: /expiresAt/ },
      'no time',
    );
  }
  const planted = file({ accessToken: '"level":"' });
  t.match(judgeCredentials(planted), { kind: 'torn', reason: /not a token/ });
  t.match(judgeCredentials(file().slice(0, 60)), { kind: 'torn', reason: /not valid JSON/ });
});

t.test(
  'of two logins, the later expiry is fresher; at the same expiry, the first login',
  async (t) => {
    const early = valid(file());
    const late = valid(file({ expiresAt: 2_000 }));
    const same = valid(file({ accessToken: 'another' }));
    t.equal(fresher(early, late), late);
    t.equal(fresher(late, early), late);
    t.equal(fresher(early, same), early);
    t.not(early.digest, same.digest);
  },
);

t.test('the tokens are redacted from then on, unless they are too short to be real', async (t) => {
  const accessToken = 'a-made-up-access-token';
  hideTokens(valid(file({ accessToken, refreshToken: 'refresh-of-a-word' })));
  hideTokens(valid(file({ accessToken: 'another-access-token-here', refreshToken: null })));
  t.equal(redact(`x ${accessToken} x`), 'x [redacted] x');
  t.equal(redact('x another-access-token-here x'), 'x [redacted] x');
  t.equal(redact('x refresh-of-a-word x'), 'x refresh-of-a-word x');
});
