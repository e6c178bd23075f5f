/** Which credentials win; every combination is in credentials-choice.test.ts. */
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { judgeCredentials } from '../../../shared/credentials.ts';
import { digestOf } from '../../../shared/digest.ts';
import { blank, login, prepareVolume, renderedAgain } from './credentials-fixture.ts';

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

t.test('an unchanged source never replaces a login that the CLI refreshed', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('person', 8));
  await place.apply();
  for (const hours of [16, 1]) {
    place.put('volume', login('refreshed', hours));
    t.match(await place.apply(), { from: 'volume', changed: false }, `expiring after ${hours} h`);
    t.equal(place.read('volume'), login('refreshed', hours));
  }
});

t.test('a source that was rendered again with the same login is not a changed one', async (t) => {
  const place = prepareVolume(t);
  const person = login('person', 8);
  place.put('source', person);
  place.put('volume', login('refreshed', 16));
  // As an earlier berth recorded it.
  place.put('record', JSON.stringify({ version: 1, source_digest: digestOf(person) }));
  for (const text of [person, `${person}\n`, renderedAgain(person)]) {
    place.put('source', text);
    t.match(await place.apply(), { from: 'volume', changed: false });
    t.match(JSON.parse(place.read('record') ?? ''), { source_digest: digestOf(text) });
  }
  place.put('source', login('new-person', 4));
  t.match(await place.apply(), { from: 'source', changed: true });
});

t.test('a new volume gets the live login of a source that was rendered again', async (t) => {
  const place = prepareVolume(t);
  const judged = judgeCredentials(login('person', 8));
  place.put('source', renderedAgain(login('person', 8)));
  place.put('live', login('refreshed', 16));
  place.put('lineage', digestOf(login('person', 8)));
  place.put('loginLineage', judged.kind === 'valid' ? judged.credentials.loginDigest : '');
  t.match(await place.apply(), { from: 'live', changed: true });
  t.match(await place.apply(), { from: 'volume', changed: false });
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

t.test('a login known as used up never wins, even with a later expiry', async (t) => {
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
  t.match(place.lines.at(-1), { msg: /the provided credentials cannot be used; log in/ });
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

t.test('a source that the live login descends from was applied, wherever that was', async (t) => {
  const second = login('second', 8);
  for (const { what, first, volume, hours } of [
    { what: 'a new volume', hours: 16 },
    { what: 'a new volume, and a source made where the clock was ahead', hours: 7 },
    { what: 'a restored backup', first: login('first', 4), volume: login('old', 5), hours: 16 },
    { what: 'one that says to end later', first: login('first', 4), volume: login('old', 48) },
    { what: 'a volume that nothing is known of', volume: login('unknown', 48) },
    { what: 'a volume whose login was refused', first: login('first', 4), volume: blank },
  ]) {
    const place = prepareVolume(t);
    if (first) {
      place.put('source', first);
      await place.apply();
    }
    if (volume) place.put('volume', volume);
    const live = login('refreshed-second', hours ?? 7);
    place.put('source', second);
    place.put('live', live);
    place.put('lineage', digestOf(second));
    t.match(await place.apply(), { from: 'live', changed: true }, what);
    t.equal(place.read('volume'), live, what);
    t.match(JSON.parse(place.read('record') ?? ''), { source_digest: digestOf(second) });
    place.put('volume', login('refreshed-again', 6));
    place.put('live', login('refreshed-again', 6));
    t.match(await place.apply(), { from: 'volume', changed: false }, `${what}, seen again`);
    t.match(await place.apply('source'), { from: 'source' }, 'unless the policy says so');
  }
});

t.test('the source of the live login is noted where no source can be read', async (t) => {
  const place = prepareVolume(t);
  place.put('source', login('first', 4));
  await place.apply();
  rmSync(place.paths.source);
  place.put('live', login('refreshed-second', 7));
  place.put('lineage', `${digestOf(login('second', 8))}\n`);
  t.match(await place.apply(), { from: 'live', changed: true });
  place.put('source', login('second', 8));
  t.match(await place.apply(), { from: 'volume', changed: false });
  rmSync(place.paths.source);
  place.put('live', login('other', 9));
  place.put('lineage', 'no digest');
  t.match(await place.apply(), { from: 'live', changed: true });
  const record = JSON.parse(place.read('record') ?? '');
  t.match(record, { source_digest: digestOf(login('second', 8)) }, 'what is no digest is not');
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

t.test('with the policy "volume", the login on the volume stays while usable', async (t) => {
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
