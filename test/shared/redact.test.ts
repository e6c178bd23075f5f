import t from 'tap';
import { neverShow, redact, redactValue } from '../../shared/redact.ts';

t.test('a secret is replaced as it is, in a URL and in JSON', async (t) => {
  const secret = 'a "quoted" secret/ä';
  neverShow(secret);
  const json = JSON.stringify(secret).slice(1, -1);
  for (const form of [secret, encodeURIComponent(secret), json]) {
    t.equal(redact(`before ${form} after`), 'before [redacted] after');
  }
});

t.test('a text with the shape of a token is replaced without being known', async (t) => {
  const tokens = [
    `sk-ant-api03-${'a'.repeat(20)}`,
    `ghp_${'b'.repeat(36)}`,
    `github_pat_${'c'.repeat(30)}`,
    `glpat-${'d'.repeat(20)}`,
  ];
  for (const token of tokens) t.equal(redact(`use ${token}.`), 'use [redacted].');
  t.equal(redact('Authorization: Bearer abcdefgh12345'), 'Authorization: Bearer [redacted]');
  t.equal(redact('https://me:pass@host/x'), 'https://[redacted]@host/x');
});

t.test('a text too short to be a secret is shown', async (t) => {
  neverShow('seven77');
  neverShow(undefined);
  t.equal(redact('the seven77 texts'), 'the seven77 texts');
});

t.test('keys and values of a JSON value are redacted, and its shape stays', async (t) => {
  neverShow('a-secret-value');
  t.same(redactValue({ 'a-secret-value': [1, null, true, 'x a-secret-value'] }), {
    '[redacted]': [1, null, true, 'x [redacted]'],
  });
});
