/** Which credentials win; every combination is in credentials-choice.test.ts. */
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { digestOf } from '../../shared/credentials.ts';
import { blank, login, prepareVolume } from './credentials-fixture.ts';

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

t.test('what is known to be used up never wins, whenever it says that it ends', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  const idOf = (text: string) => digestOf(JSON.parse(text).claudeAiOauth.refreshToken).slice(0, 12);
  // Written where the clock was ahead, and refreshed since where it was right.
  const superseded = [login('written-back', 16), login('old-person', 24)].map(idOf);
  const history = join(place.directory, 'volume/.berth/login-history.json');
  writeFileSync(history, JSON.stringify({ version: 1, superseded }));
  place.put('volume', login('refreshed', 15));
  place.put('live', login('written-back', 16));
  t.match(await place.apply(), { from: 'volume', changed: false });
  place.put('source', login('old-person', 24));
  t.match(await place.apply(), { from: 'volume', changed: false }, 'an old file of a person');
  t.match(await place.apply('source'), { from: 'source' }, 'unless the policy says so');
  rmSync(place.paths.volume);
  rmSync(place.paths.lastGood);
  t.match(await place.apply(), { from: 'none' });
  t.match(place.lines.at(-1), { msg: /the credentials provided cannot be used; log in/ });
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
