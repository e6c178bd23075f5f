/** A git server with a certificate of a private CA. */
import t from 'tap';
import { certificateAuthority, openTls } from '../../support/tls.ts';
import { openHarbour } from '../fixture.ts';
import { runProgram } from '../process.ts';

t.test('a private CA is trusted when NODE_EXTRA_CA_CERTS names it', async (t) => {
  const harbour = await openHarbour(t);
  const url = await openTls(t, harbour.server.url);
  const environment = harbour.environment({
    BERTH_REPO: url,
    NODE_EXTRA_CA_CERTS: certificateAuthority,
  });
  const { code, lines } = await runProgram(environment);
  t.equal(code, 0, String(lines.at(-1)?.msg));
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
});

t.test('an untrusted certificate is an error with a remedy', async (t) => {
  const harbour = await openHarbour(t);
  const url = await openTls(t, harbour.server.url);
  const { code, lines } = await runProgram(harbour.environment({ BERTH_REPO: url }));
  t.equal(code, 69);
  t.match(lines.at(-1)?.msg, /its certificate is not trusted \(.+\); .*NODE_EXTRA_CA_CERTS/);
  t.strictSame(harbour.server.requests, [], 'the token did not leave');
  t.notOk(lines.some(({ event }) => event === 'remote_retry'));
});

t.test('https to a port that speaks plain http is an error with its remedy', async (t) => {
  const harbour = await openHarbour(t);
  const url = harbour.url.replace('http:', 'https:');
  const { code, lines } = await runProgram(harbour.environment({ BERTH_REPO: url }));
  t.equal(code, 69);
  t.match(lines.at(-1)?.msg, /cannot reach https:.*; /);
});
