/** The files that hold credentials: what may lie there, and what is told of it. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { conflictsIn, openHarbour } from '../fixture.ts';
import { canChangeUser, runProgram } from '../process.ts';
import { blank, login, prepareVolume } from './credentials-fixture.ts';

const skip = canChangeUser ? false : 'needs root and setpriv';

t.test('no credentials at all is no error, and no reason to warn', async (t) => {
  const place = prepareVolume(t);
  t.strictSame(await place.apply(), { from: 'none', changed: false });
  t.match(place.lines, [
    { event: 'credentials_missing', level: 'info', msg: /ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_/ },
  ]);
});

t.test('an unusable source causes a warning with a remedy', async (t) => {
  const place = prepareVolume(t);
  place.put('source', blank);
  t.match(await place.apply(), { from: 'none' });
  t.match(place.lines, [
    { event: 'credentials_unreadable', level: 'warn', msg: /it holds no token/ },
    {
      event: 'credentials_missing',
      level: 'warn',
      msg: /put its .credentials.json into the Secret/,
    },
  ]);
});

t.test(
  'other data of the CLI in the credentials file stays when the login is replaced',
  async (t) => {
    const place = prepareVolume(t);
    const mcpOAuth = {
      'server|1': { accessToken: 'of-a-server', refreshToken: 'of-a-server-too' },
    };
    place.put('volume', JSON.stringify({ ...JSON.parse(login('old', 1)), mcpOAuth }));
    place.put('source', login('person', 8));
    t.match(await place.apply(), { from: 'source', changed: true });
    t.strictSame(JSON.parse(place.read('volume') ?? ''), {
      ...JSON.parse(login('person', 8)),
      mcpOAuth,
    });
    t.match(await place.apply(), { from: 'volume', changed: false });
  },
);

t.test('a file that holds only logins of MCP servers is no torn one', async (t) => {
  const place = prepareVolume(t);
  place.put('volume', '{"mcpOAuth":{"server|1":{}}}');
  t.strictSame(await place.apply(), { from: 'none', changed: false });
  t.notOk(place.lines.some(({ level }) => level === 'warn'));
  place.put('source', login('person', 8));
  await place.apply();
  t.match(JSON.parse(place.read('volume') ?? ''), { mcpOAuth: {}, claudeAiOauth: {} });
});

t.test('a login on the volume that is too large to be read is never replaced', async (t) => {
  const place = prepareVolume(t);
  const large = JSON.stringify({ ...JSON.parse(login('own', 8)), mcpOAuth: 'x'.repeat(70 * 1024) });
  place.put('volume', large);
  place.put('lastGood', login('older', 1));
  place.put('source', login('person', 16));
  for (const policy of ['fresher', 'source'] as const) {
    t.strictSame(await place.apply(policy), { from: 'volume', changed: false });
  }
  t.equal(place.read('volume'), large);
  t.equal(place.read('record'), undefined, 'the source is applied later');
  t.match(place.lines, [
    { event: 'credentials_unreadable', level: 'error', msg: /larger than .*log out of unused MCP/ },
  ]);
});

t.test('a login that init may not read is never replaced', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  chownSync(harbour.volume, 1000, 1000);
  const path = join(harbour.volume, '.credentials.json');
  writeFileSync(path, login('own', 8), { mode: 0o600 });
  writeFileSync(harbour.config().credentialsSource, login('person', 16), { mode: 0o444 });
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 0);
  t.equal(readFileSync(path, 'utf8'), login('own', 8));
  t.match(
    lines.filter(({ event }) => event === 'credentials_unreadable'),
    [{ level: 'error', from: 'volume', msg: /EACCES/ }],
  );
});

t.test('a credentials file that others can read gets mode 0600', async (t) => {
  const place = prepareVolume(t);
  place.put('volume', login('refreshed', 8));
  chmodSync(place.paths.volume, 0o660);
  const { ino } = statSync(place.paths.volume);
  t.match(await place.apply(), { from: 'volume', changed: false });
  t.equal(statSync(place.paths.volume).mode & 0o777, 0o600);
  t.equal(place.read('volume'), login('refreshed', 8));
  t.equal(statSync(place.paths.volume).ino, ino, 'it is not written again');
});

t.test('a Secret that cannot be read causes a warning with a remedy', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  chownSync(harbour.volume, 1000, 1000);
  writeFileSync(harbour.config().credentialsSource, login('person', 8), { mode: 0o400 });
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 0);
  const [warning] = lines.filter(({ level }) => level === 'warn');
  t.match(warning, { event: 'credentials_unreadable', msg: /fsGroup and defaultMode 0440/ });
});

t.test('the keys of a mounted Secret are symlinks, and followed', async (t) => {
  const place = prepareVolume(t);
  mkdirSync(join(place.directory, 'source/..data'));
  writeFileSync(join(place.directory, 'source/..data/credentials.json'), login('person', 8));
  symlinkSync('..data/credentials.json', place.paths.source);
  t.match(await place.apply(), { from: 'source' });
});

t.test('a symlink or directory in the place of the file is replaced, not followed', async (t) => {
  const place = prepareVolume(t);
  const outside = join(place.directory, 'outside');
  writeFileSync(outside, login('stranger', 99));
  symlinkSync(outside, place.paths.volume);
  place.put('source', login('person', 8));
  t.match(await place.apply(), { from: 'source' });
  t.notOk(lstatSync(place.paths.volume).isSymbolicLink());
  t.equal(readFileSync(outside, 'utf8'), login('stranger', 99));

  const other = prepareVolume(t);
  mkdirSync(other.paths.volume);
  writeFileSync(join(other.paths.volume, 'x'), 'x');
  other.put('source', login('person', 8));
  t.match(await other.apply(), { from: 'source' });
  t.strictSame(conflictsIn(join(other.directory, 'volume')), ['.credentials.json/x']);
});

t.test('a damaged record of the source is ignored, and a newer record is refused', async (t) => {
  const place = prepareVolume(t);
  place.put('record', 'garbage');
  place.put('source', login('person', 8));
  place.put('volume', login('refreshed', 16));
  t.match(await place.apply(), { from: 'volume' });
  place.put('record', '{"version":2}');
  await t.rejects(place.apply(), { code: 'volume_damaged' });
  t.equal(place.read('record'), '{"version":2}');
});

t.test('no token is ever logged', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  place.put('source', login('other', 9));
  await place.apply();
  t.notMatch(JSON.stringify(place.lines), /(access|refresh)-of/);
  t.match(JSON.stringify(place.lines), /refresh_token_id/);
});
