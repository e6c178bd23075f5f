import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { judgeCredentials } from '../../../shared/credentials.ts';
import { writeAppliedSource } from '../../../shared/credentials-memory.ts';
import { until } from '../../support/until.ts';
import { blank, hour, idOf, login, openShore, type Shore, sourceOf } from './fixture.ts';

t.jobs = 4;

t.test('the login goes into the empty Secret, with the source it descends from', async (t) => {
  const shore = await openShore(t);
  shore.note(sourceOf('the file of a person'));
  shore.write(login('one'));
  shore.begin();
  await shore.arrives(login('one'));
  t.equal(shore.live('source-digest'), sourceOf('the file of a person'));
  const line = await shore.log.logged('credentials_written_back');
  t.match(line, { refresh_token_id: idOf('one'), expires_at: /Z$/, duration_ms: Number });
  const [get, patch] = shore.api.requests;
  t.match([get?.method, patch?.method], ['GET', 'PATCH']);
  t.equal(get?.path, '/api/v1/namespaces/berth/secrets/berth-live');
  t.equal(patch?.contentType, 'application/merge-patch+json');
  t.match(JSON.parse(patch?.body ?? ''), { metadata: { resourceVersion: /^\d+$/ } });
  t.notMatch(shore.log.text, /made-up/);
  t.notMatch(shore.log.text, shore.api.token);
});

t.test('each refresh follows, and nothing is written without one', async (t) => {
  const shore = await openShore(t);
  shore.begin({ check: 30 });
  for (const [id, hours] of [
    ['one', 8],
    ['two', 16],
    ['three', 24],
  ] as const) {
    shore.write(login(id, hours));
    await shore.arrives(login(id, hours));
  }
  const asked = shore.api.requests.length;
  await until('it has looked at the Secret again', () => shore.api.requests.length > asked + 3);
  t.equal(shore.patches(), 3);
  t.equal(await shore.metric('berth_write_back_pending'), 0);
  t.equal(await shore.metric('berth_write_back_delay_seconds_count'), 3);
  const success = await shore.metric('berth_write_back_success_timestamp_seconds');
  t.ok(Math.abs(success - Date.now() / 1_000) < 600);
});

t.test('it is seen without a watcher too', async (t) => {
  const shore = await openShore(t);
  shore.begin({ settle: 600_000 });
  shore.write(login('one'));
  await shore.arrives(login('one'));
});

t.test('only the known fields go into the Secret', async (t) => {
  const shore = await openShore(t);
  const known = {
    refreshTokenExpiresAt: Date.now() + 600 * hour,
    rateLimitTier: 'default_claude_max_5x',
    clientId: '9d1c250a-e61b-44d9-88ed-5944d1962f5e',
  };
  const { claudeAiOauth } = JSON.parse(
    login('one', 8, { ...known, planted: 'x', accountUuid: {} }),
  );
  shore.write(
    JSON.stringify({ mcpOAuth: { a: { accessToken: 'secret' } }, claudeAiOauth, more: 1 }),
  );
  shore.begin();
  const text = await until('it is written', () => shore.live());
  const { accountUuid: _, planted: __, ...expected } = claudeAiOauth;
  t.strictSame(JSON.parse(text), { claudeAiOauth: expected });
  t.equal(judgeCredentials(text).kind, 'valid');
});

t.test('blank, damaged, used-up and refused logins are never written', async (t) => {
  const shore = await openShore(t);
  shore.write(login('two', 16));
  shore.begin({ check: 10 });
  await shore.arrives(login('two', 16));
  shore.note(undefined, { superseded: [idOf('one')], refused: [idOf('bad')] });
  for (const text of [blank, login('one', 32), login('bad', 24), '', '{"claudeAiOauth":{"acc']) {
    shore.write(text);
    const { length } = shore.api.requests;
    // Before the second of these it has looked at the volume.
    await until('it has looked', () => shore.api.requests.length > length + 1);
    t.equal(shore.live(), login('two', 16));
  }
  shore.write(login('three', 24));
  await shore.arrives(login('three', 24));
  t.equal(shore.patches(), 2);
});

t.test('a new login of a person takes the place of a later one, with its source', async (t) => {
  const shore = await openShore(t);
  shore.note(sourceOf('first'));
  shore.write(login('refreshed', 16));
  shore.begin();
  await shore.arrives(login('refreshed', 16));
  // As the supervisor applies it: the login first.
  shore.write(login('anew', 2));
  shore.note(sourceOf('second'));
  await shore.arrives(login('anew', 2));
  await until('its source follows', () => shore.live('source-digest') === sourceOf('second'));
  const third = { digest: sourceOf('third'), loginDigest: sourceOf('login of the third') };
  await writeAppliedSource(join(shore.config, '.berth'), third);
  await until('its source follows', () => shore.live('source-digest') === third.digest);
  t.equal(shore.live('source-login-digest'), third.loginDigest);
  shore.note(sourceOf('fourth'));
  await until('its source follows', () => shore.live('source-digest') === sourceOf('fourth'));
  t.notOk(shore.live('source-login-digest'), 'the digest of the earlier source is removed');
});

t.test(
  'while the API is unavailable, only the newest login is kept for a single write',
  async (t) => {
    const shore = await openShore(t);
    shore.api.fault({ kind: 'status', status: 503 });
    shore.write(login('one', 8));
    shore.begin();
    await shore.log.logged('write_back_failed');
    for (const hours of [9, 10, 11]) shore.write(login(`at ${hours}`.replace(' ', '-'), hours));
    t.equal(await shore.metric('berth_write_back_pending'), 1);
    await until('the last is seen', () => shore.api.requests.length > 6);
    shore.api.fault(undefined);
    await shore.arrives(login('at-11', 11));
    await shore.log.logged('write_back_recovered');
    t.equal(shore.patches(), 1);
  },
);

t.test('a login that disappears from the volume before the write is still written', async (t) => {
  const shore = await openShore(t);
  shore.api.fault({ kind: 'status', status: 500 });
  shore.write(login('one'));
  shore.begin();
  await shore.log.logged('write_back_failed');
  rmSync(join(shore.config, '.credentials.json'));
  shore.api.fault(undefined);
  await shore.arrives(login('one'));
});

t.test('of two that write at once the later login stays', async (t) => {
  const shore = await openShore(t);
  shore.write(login('here', 8));
  shore.begin({ check: 20 });
  await shore.arrives(login('here', 8));
  const other = (text: string) => {
    const data = { 'credentials.json': Buffer.from(text).toString('base64') };
    shore.api.secrets.patch('berth', 'berth-live', { data });
  };
  other(login('there', 16));
  const kept = shore.api.requests.length;
  await until('it has looked again', () => shore.api.requests.length > kept + 2);
  t.equal(shore.live(), login('there', 16));
  shore.write(login('here-again', 12));
  const line = await shore.log.logged('write_back_kept', ({ level }) => level === 'warn');
  t.match(line, { outcome: 'expires_later', msg: /another login, which expires later/ });
  t.notMatch(line.msg, /better/);
  t.equal(shore.live(), login('there', 16));

  // The Secret does not hold the volume's login: that is no success, and is told.
  await until('it is counted', async () => (await shore.metric('berth_write_back_kept')) === 1);
  const success = () => shore.metric('berth_write_back_success_timestamp_seconds');
  const before = await success();
  const looks = shore.api.requests.length;
  await until('it has looked again', () => shore.api.requests.length > looks + 2);
  t.equal(await success(), before);

  shore.write(login('here-at-last', 24));
  await shore.arrives(login('here-at-last', 24));
  await until('it is over', async () => (await shore.metric('berth_write_back_kept')) === 0);
});

t.test('a login that is used up before the write is reported as used up', async (t) => {
  const shore = await openShore(t, { 'credentials.json': login('older', 4) });
  shore.api.fault({ kind: 'status', status: 503 });
  shore.write(login('one'));
  shore.begin();
  await shore.log.logged('write_back_failed');
  shore.note(undefined, { superseded: [idOf('one')] });
  shore.api.fault(undefined);
  const line = await shore.log.logged('write_back_kept');
  t.match(line, { outcome: 'used_up', level: 'warn', msg: /it is used up or was refused/ });
  t.equal(shore.live(), login('older', 4));
});

t.test('a Secret that is emptied, or deleted and made again, is filled again', async (t) => {
  const shore = await openShore(t);
  shore.write(login('one'));
  shore.begin({ check: 20 });
  await shore.arrives(login('one'));
  shore.api.secrets.put('berth', 'berth-live', {});
  await shore.arrives(login('one'));
  shore.api.secrets.delete('berth', 'berth-live');
  const { msg } = await shore.log.logged('write_back_failed');
  t.match(msg, /kubectl -n berth create secret generic berth-live/);
  shore.api.secrets.put('berth', 'berth-live', {});
  await shore.arrives(login('one'));
  t.notOk((await shore.metric('berth_write_back_failures_total{reason="not_found"}')) < 1);
});

t.test(
  'where its clock was set back by ten minutes, a refresh is still the newer one',
  async (t) => {
    const shore = await openShore(t);
    shore.write(login('one', 8));
    shore.begin();
    await shore.arrives(login('one', 8));
    shore.write(login('two', 8 - 10 / 60));
    await shore.arrives(login('two', 8 - 10 / 60));
  },
);

t.test(
  'after a restart, a login that the supervisor recorded as used up is replaced despite a clock set back',
  async (t) => {
    const shore = await openShore(t, { 'credentials.json': login('one', 8) });
    shore.write(login('two', 8 - 10 / 60));
    shore.note(undefined, { superseded: [idOf('one')] });
    shore.begin();
    await shore.arrives(login('two', 8 - 10 / 60));
  },
);

for (const [when, reconsider] of [
  ['a moment later', 300],
  ['before the stop', 600_000],
] as const) {
  t.test(`a login whose predecessor is recorded as used up ${when} is written`, async (t) => {
    const shore = await openShore(t, { 'credentials.json': login('one', 8) });
    shore.write(login('two', 8 - 10 / 60));
    const writing = shore.begin({ reconsider });
    await until('it has decided', () => shore.api.requests.length > 0);
    shore.note(undefined, { superseded: [idOf('one')] });
    if (reconsider < 1_000) await shore.arrives(login('two', 8 - 10 / 60));
    t.equal(await writing.stop(), true);
    t.equal(shore.live(), login('two', 8 - 10 / 60));
  });
}

const unreadable: Record<string, (shore: Shore) => void> = {
  'a login in an unknown shape': (shore) => shore.write(login('two', 16, { scopes: ['a b'] })),
  'a history of a newer berth': (shore) => {
    writeFileSync(join(shore.config, '.berth/login-history.json'), '{"version":2}');
    shore.write(login('two', 16));
  },
};

for (const [name, plant] of Object.entries(unreadable)) {
  t.test(`${name} is a failure at each read, and no success`, async (t) => {
    const shore = await openShore(t);
    const success = () => shore.metric('berth_write_back_success_timestamp_seconds');
    const failures = () => shore.metric('berth_write_back_failures_total{reason="volume"}');
    shore.write(login('one'));
    shore.begin({ check: 10 });
    await shore.arrives(login('one'));
    plant(shore);
    await shore.log.logged('credentials_unreadable');
    const counted = await failures();
    await until('two more reads have failed', async () => (await failures()) > counted + 1);
    const [before, asked] = [await success(), shore.api.requests.length];
    await until('the Secret is read again', () => shore.api.requests.length > asked + 2);
    t.equal(await success(), before);
    t.equal(shore.log.count('credentials_unreadable'), 1, 'it is logged once');
    shore.note(undefined, {});
    shore.write(login('three', 24));
    await shore.arrives(login('three', 24));
    await until('a success is reported', async () => (await success()) > before);
  });
}

t.test('the Secret of a person is never written, and the log reports an error', async (t) => {
  const own = login('person').replace('{', '{ ');
  const shore = await openShore(t, { 'credentials.json': own });
  shore.note(sourceOf(own));
  shore.write(own);
  shore.begin();
  const { msg, level, reason } = await shore.log.logged('write_back_failed');
  t.match([msg, level, reason], [/name another Secret/, 'error', 'own_source']);
  shore.write(login('two', 16));
  await until('it has tried again', () => shore.api.requests.length > 3);
  t.equal(shore.live(), own);
});

t.test(
  'a login that a person has copied from the live Secret does not end the writes',
  async (t) => {
    const shore = await openShore(t);
    shore.write(login('one'));
    const writing = shore.begin();
    await shore.arrives(login('one'));
    t.equal(shore.live('source-digest'), undefined, 'the login has no source yet');
    await writing.stop();
    shore.note(sourceOf(login('one')));
    shore.write(login('two', 16));
    shore.begin();
    await shore.arrives(login('two', 16));
    t.equal(shore.log.count('write_back_failed'), 0);
  },
);

t.test('a stop writes the pending login, and ends in time if the write fails', async (t) => {
  const shore = await openShore(t);
  const writing = shore.begin({ look: 600_000, settle: 600_000 });
  await until('it has looked', () => shore.api.requests.length > 0);
  shore.write(login('last'));
  t.equal(await writing.stop(), true);
  t.equal(shore.live(), login('last'));
  t.equal(await writing.stop(), true);

  shore.api.fault({ kind: 'hang' });
  const another = shore.begin({ flush: 50 });
  shore.write(login('lost', 16));
  await until('it tries', () => another.pending);
  t.equal(await another.stop(), false);
  t.equal(shore.live(), login('last'));
});

t.test('a failure passes while it stops, and the login is written', async (t) => {
  const shore = await openShore(t);
  shore.api.fault({ kind: 'status', status: 500, times: 3 });
  shore.write(login('one'));
  const writing = shore.begin({ retry: { first: 600_000, longest: 600_000 } });
  await shore.log.logged('write_back_failed');
  t.equal(await writing.stop(), true);
  t.equal(shore.live(), login('one'));
});

t.test('a restart after a kill finds the state and writes nothing twice', async (t) => {
  const shore = await openShore(t);
  shore.write(login('one'));
  // The answer is lost: whether it was carried out nobody knows.
  shore.api.fault({ kind: 'drop', method: 'PATCH', carriedOut: true, times: 1 });
  shore.begin();
  await shore.arrives(login('one'));
  await until('it is sure', async () => (await shore.metric('berth_write_back_pending')) === 0);
  const { length } = shore.api.requests;
  shore.begin();
  await until('the next has looked', () => shore.api.requests.length > length);
  t.equal(shore.patches(), 1);
  writeFileSync(join(shore.config, '.credentials.json.tmp.killed'), '{"clau');
  shore.write(login('two', 16));
  await shore.arrives(login('two', 16));
});
