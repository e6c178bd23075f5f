import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { applyCredentials, type CredentialsOutcome } from '../../init/credentials.ts';
import type { CredentialsPolicy } from '../../init/credentials-choice.ts';
import { openAside } from '../../init/set-aside.ts';
import { digestOf } from '../../shared/credentials.ts';
import { captureLog, conflictsIn, openHarbour } from './fixture.ts';
import { canChangeUser, runProgram } from './process.ts';

const skip = canChangeUser ? false : 'needs root and setpriv';

const hour = 3_600_000;

/** Credentials whose access token ends `hours` after a fixed time; `name` makes them tell apart. */
function login(name: string, hours: number): string {
  return JSON.stringify({
    claudeAiOauth: {
      accessToken: `access-of-${name}-${hours}`,
      refreshToken: `refresh-of-${name}-${hours}`,
      expiresAt: Date.UTC(2030, 0, 1) + hours * hour,
      scopes: ['user:inference'],
    },
  });
}

const blank = JSON.stringify({
  claudeAiOauth: { accessToken: '', refreshToken: '', expiresAt: 0, scopes: ['user:inference'] },
});

function prepareVolume(t: Test) {
  const directory = t.testdir({ volume: { '.berth': {} }, source: {}, live: {} });
  const paths = {
    volume: join(directory, 'volume/.credentials.json'),
    source: join(directory, 'source/credentials.json'),
    live: join(directory, 'live/credentials.json'),
    lineage: join(directory, 'live/source-digest'),
    lastGood: join(directory, 'volume/.berth/last-good-credentials.json'),
    record: join(directory, 'volume/.berth/credentials.json'),
  };
  const { log, lines } = captureLog();
  const stateDirectory = join(directory, 'volume/.berth');
  return {
    directory,
    paths,
    lines,
    put: (name: keyof typeof paths, text: string) => writeFileSync(paths[name], text),
    read: (name: keyof typeof paths) =>
      existsSync(paths[name]) ? readFileSync(paths[name], 'utf8') : undefined,
    apply: (policy: CredentialsPolicy = 'fresher'): Promise<CredentialsOutcome> =>
      applyCredentials({
        policy,
        configDirectory: join(directory, 'volume'),
        stateDirectory,
        source: paths.source,
        liveSource: paths.live,
        owner: undefined,
        conflicts: openAside(join(stateDirectory, 'conflicts'), 'test'),
        lease: { assertHeld: async () => undefined },
        log,
      }),
  };
}

t.test('the source is put on an empty volume, readable by its owner alone', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  t.match(await place.apply(), {
    from: 'source',
    changed: true,
    expires_at: '2030-01-01T08:00:00.000Z',
  });
  t.equal(place.read('volume'), login('person', 8));
  t.equal(statSync(place.paths.volume).mode & 0o777, 0o600);
  t.match(await place.apply(), { from: 'volume', changed: false });
});

t.test('an unchanged source never replaces what the CLI refreshed', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  for (const hours of [16, 1]) {
    place.put('volume', login('refreshed', hours));
    t.match(await place.apply(), { from: 'volume', changed: false }, `expiring after ${hours} h`);
    t.equal(place.read('volume'), login('refreshed', hours));
  }
});

t.test('a source that a person changed wins, even if it ends earlier', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  place.put('volume', login('refreshed', 16));
  place.put('source', login('new-person', 4));
  t.match(await place.apply(), { from: 'source', changed: true });
  t.equal(place.read('volume'), login('new-person', 4));
  t.equal(place.read('lastGood'), login('refreshed', 16), 'what was replaced is kept');
  t.equal(statSync(place.paths.lastGood).mode & 0o777, 0o600);
});

t.test('on a first run over credentials of unknown origin the later expiry wins', async (t) => {
  const place = prepareVolume(t);
  place.put('volume', login('refreshed', 16));
  place.put('source', login('person', 8));
  t.match(await place.apply(), { from: 'volume', changed: false });
  t.match(await place.apply(), { from: 'volume' }, 'and the source counts as applied');
  const other = prepareVolume(t);
  other.put('volume', login('old', 1));
  other.put('source', login('person', 8));
  t.match(await other.apply(), { from: 'source', changed: true });
});

t.test('of the volume and the live source the later expiry wins', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  place.put('live', login('written-back', 16));
  t.match(await place.apply(), { from: 'live', changed: true });
  place.put('volume', login('refreshed', 24));
  t.match(await place.apply(), { from: 'volume', changed: false });
});

t.test('a live source that came from another source does not count', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  place.put('live', login('written-back', 16));
  place.put('lineage', digestOf(login('former-person', 2)));
  t.match(await place.apply(), { from: 'volume', changed: false });
  place.put('lineage', digestOf(login('person', 8)));
  t.match(await place.apply(), { from: 'live', changed: true });
});

t.test('blank and torn credentials never win', async (t) => {
  for (const bad of [blank, '', '{"claudeAiOauth":{"acc', '[]', 'null']) {
    const place = prepareVolume(t);
    place.put('source', bad);
    place.put('volume', login('refreshed', 1));
    place.put('live', bad);
    t.match(await place.apply(), { from: 'volume', changed: false }, bad);
    t.equal(place.read('volume'), login('refreshed', 1));
    t.equal(place.lines.filter(({ event }) => event === 'credentials_unreadable').length, 2);
  }
});

t.test('a torn file on the volume is replaced by the best there is', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  place.put('lastGood', login('refreshed', 16));
  place.put('volume', '{"claudeAi');
  t.match(await place.apply(), { from: 'last_good', changed: true });
  t.equal(place.read('volume'), login('refreshed', 16));
});

t.test('after a refused login only something new is tried', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  place.put('lastGood', login('refused', 16));
  place.put('volume', blank);
  place.put('live', login('refused', 16));
  t.match(await place.apply(), { from: 'rejected', changed: false });
  t.equal(place.read('volume'), blank);
  place.put('source', login('person-logged-in-again', 8));
  t.match(await place.apply(), { from: 'source', changed: true });
});

t.test('a changed source with the very login that was refused does not win', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  place.put('lastGood', login('person', 8));
  place.put('volume', blank);
  place.put('source', `${login('person', 8)}\n`);
  t.match(await place.apply(), { from: 'rejected', changed: false });
});

t.test('no credentials at all is no error, and no reason to warn', async (t) => {
  const place = prepareVolume(t);
  t.strictSame(await place.apply(), { from: 'none', changed: false });
  t.match(place.lines, [
    { event: 'credentials_missing', level: 'info', msg: /ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_/ },
  ]);
});

t.test('a source that cannot be used is warned about with what to do', async (t) => {
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

t.test('with the policy source the source wins at every start', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply('source');
  place.put('volume', login('refreshed', 16));
  place.put('live', login('written-back', 24));
  t.match(await place.apply('source'), { from: 'source', changed: true });
  t.equal(place.read('lastGood'), login('refreshed', 16));
  place.put('source', blank);
  place.put('volume', login('refreshed', 48));
  t.match(await place.apply('source'), { from: 'volume', changed: false }, 'but not a blank one');
  place.put('source', login('person', 8));
  place.put('lastGood', login('person', 8));
  place.put('volume', blank);
  t.match(await place.apply('source'), { from: 'live' }, 'nor one that was just refused');
});

t.test('with the policy volume those on the volume stay while they can be used', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  t.match(await place.apply('volume'), { from: 'source' }, 'there are none yet');
  place.put('source', login('new-person', 24));
  place.put('live', login('written-back', 24));
  t.match(await place.apply('volume'), { from: 'volume', changed: false });
  place.put('volume', blank);
  place.put('source', login('newest-person', 8));
  t.match(await place.apply('volume'), { from: 'source', changed: true });
});

t.test('what the CLI keeps beside its login stays when the login is replaced', async (t) => {
  const place = prepareVolume(t);
  const mcpOAuth = { 'server|1': { accessToken: 'of-a-server', refreshToken: 'of-a-server-too' } };
  place.put('volume', JSON.stringify({ ...JSON.parse(login('old', 1)), mcpOAuth }));
  place.put('source', login('person', 8));
  t.match(await place.apply(), { from: 'source', changed: true });
  t.strictSame(JSON.parse(place.read('volume') ?? ''), {
    ...JSON.parse(login('person', 8)),
    mcpOAuth,
  });
  t.match(await place.apply(), { from: 'volume', changed: false });
});

t.test('a file that holds only logins of MCP servers is no torn one', async (t) => {
  const place = prepareVolume(t);
  place.put('volume', '{"mcpOAuth":{"server|1":{}}}');
  t.strictSame(await place.apply(), { from: 'none', changed: false });
  t.notOk(place.lines.some(({ level }) => level === 'warn'));
  place.put('source', login('person', 8));
  await place.apply();
  t.match(JSON.parse(place.read('volume') ?? ''), { mcpOAuth: {}, claudeAiOauth: {} });
});

t.test('a file that others could read is closed to them', async (t) => {
  const place = prepareVolume(t);
  place.put('volume', login('refreshed', 8));
  chmodSync(place.paths.volume, 0o660);
  t.match(await place.apply(), { from: 'volume', changed: false });
  t.equal(statSync(place.paths.volume).mode & 0o777, 0o600);
  t.equal(place.read('volume'), login('refreshed', 8));
});

t.test('a Secret that may not be read is told with the remedy', { skip }, async (t) => {
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

t.test('a damaged memory of the source is as none, a newer one is refused', async (t) => {
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
