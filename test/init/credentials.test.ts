import {
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
import { openAside } from '../../init/set-aside.ts';
import { digestOf } from '../../shared/credentials.ts';
import { captureLog, conflictsIn } from './fixture.ts';

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
    apply: (): Promise<CredentialsOutcome> =>
      applyCredentials({
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

t.test('no credentials at all is no error', async (t) => {
  const place = prepareVolume(t);
  t.strictSame(await place.apply(), { from: 'none', changed: false });
  t.match(place.lines, [{ event: 'credentials_missing', level: 'warn' }]);
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
