import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import chokidar from 'chokidar';
import t from 'tap';
import { pause } from '../../../shared/waiting.ts';
import { LoginFileChanged } from '../../../supervisor/credentials/login-file.ts';
import { until } from '../../support/until.ts';
import { blank, credentials, login } from './login-files.ts';
import { watchLogin } from './watched-login.ts';

t.jobs = 4;

const never = 3_600_000;
const one = { '.credentials.json': credentials('one') };
/** Its refusal counts, so it is not put back. */
const due = credentials('one', { expiresAt: Date.now() });

t.test('a valid login is logged and kept', async (t) => {
  const { watch, lastGood, log, states } = await watchLogin(t, one);
  t.match(watch.state, { kind: 'valid', credentials: login('one') });
  t.equal(lastGood(), credentials('one'));
  t.match(log.lines, [{ level: 'info', event: 'credentials_seen', state: 'valid' }]);
  t.same(states, ['valid']);
});

t.test('a missing login is no error, and is seen when it comes', async (t) => {
  const { watch, becomes, replace, lastGood, log } = await watchLogin(t);
  t.equal(watch.state.kind, 'missing');
  t.equal(lastGood(), undefined);
  t.notOk(log.lines.some(({ level }) => level === 'error'));
  replace(credentials('one'));
  await becomes('valid');
  await until('it is kept', () => lastGood() === credentials('one'));
});

t.test('a blank login is an error and never replaces the last good one', async (t) => {
  const { watch, path, becomes, replace, lastGood, log, states } = await watchLogin(t, {
    '.credentials.json': due,
  });
  replace(blank);
  await becomes('blank');
  t.equal(watch.lost, true);
  t.equal(lastGood(), due);
  rmSync(path);
  await becomes('missing');
  t.equal(watch.lost, true, 'what was refused is still lost');
  replace(credentials('two'));
  await becomes('valid');
  t.equal(watch.lost, false);
  await until('it is kept', () => lastGood() === credentials('two'));
  t.same([...new Set(states)], ['valid', 'blank', 'missing']);
  const errors = log.lines.filter(({ level }) => level === 'error').map(({ msg }) => msg);
  t.match(errors, [/has blanked its credentials: log in again/]);
});

t.test('a torn file gets time to be finished', async (t) => {
  const { path, becomes, events, log } = await watchLogin(t, one, { patience: never });
  writeFileSync(path, credentials('two').slice(0, 30));
  await becomes('torn');
  writeFileSync(path, credentials('two'));
  await becomes('valid');
  t.notOk(events.includes('put_back'));
  t.match(log.text, /the credentials file cannot be used: it is not valid JSON/);
});

t.test('a damaged file that stays damaged is replaced by the last good login', async (t) => {
  const { path, file, log } = await watchLogin(t, one);
  writeFileSync(path, '');
  await log.logged('credentials_put_back', ({ state }) => state === 'torn');
  t.equal(file(), credentials('one'));
  t.match(log.text, /the credentials file cannot be used: it is empty/);
});

t.test('an empty file is not the same as none', async (t) => {
  const { path, watch, becomes } = await watchLogin(t);
  t.equal(watch.state.kind, 'missing');
  writeFileSync(path, '');
  await becomes('torn');
});

t.test('a read that fails loses no login: the file is read again, several times', async (t) => {
  const { watch, path, replace, events, states, log } = await watchLogin(t, one, {
    ...{ patience: 500, interval: never },
  });
  const linkInPlace = (): void => {
    symlinkSync('elsewhere.json', `${path}.link`);
    renameSync(`${path}.link`, path);
  };
  linkInPlace();
  await watch.check();
  t.equal(log.count('credentials_unreadable'), 1);
  t.match([watch.state.kind, watch.lost], ['valid', false]);
  replace(credentials('one'));
  await until('it is read again', () => states.length === 2);
  t.same(states, ['valid', 'valid']);
  linkInPlace();
  for (let tries = 0; tries < 5; tries++) await watch.check();
  t.match([watch.state.kind, watch.lost], ['torn', true]);
  t.notOk(events.includes('put_back'));
});

t.test('a planted symlink is not read, and the same login is valid again later', async (t) => {
  const { path, becomes, replace, log } = await watchLogin(t, {
    ...one,
    'elsewhere.json': credentials('two'),
  });
  rmSync(path);
  symlinkSync('elsewhere.json', path);
  await becomes('torn');
  await log.logged('credentials_unreadable');
  rmSync(path);
  replace(credentials('one'));
  await becomes('valid');
});

t.test('the same content written again is not logged again', async (t) => {
  const { replace, becomes, states, log } = await watchLogin(t, { '.credentials.json': due });
  replace(due);
  replace(due);
  replace(blank);
  await becomes('blank');
  t.same(states, ['valid', 'blank']);
  t.equal(log.count('credentials_seen'), 2);
});

t.test('a last good login that could not be kept is kept at a later check', async (t) => {
  const { replace, kept, lastGood, log, becomes } = await watchLogin(t, {}, { interval: 20 });
  mkdirSync(kept);
  replace(credentials('one'));
  await becomes('valid');
  await log.logged('credentials_unkept');
  rmSync(kept, { recursive: true });
  await until('it is kept', () => lastGood() === credentials('one'));
});

t.test('a login that was not judged yet is not replaced by a login from the source', async (t) => {
  const { watch, replace, file, lastGood } = await watchLogin(t, one, {
    ...{ settle: never, interval: never },
  });
  replace(credentials('two'));
  const adopt = () => watch.adopt(login('three')).catch((error) => error);
  t.type(await adopt(), LoginFileChanged);
  t.equal(file(), credentials('two'));
  // Chosen when `one` was there, it has its turn after `two` was judged.
  const checked = watch.check();
  t.type(await adopt(), LoginFileChanged);
  await checked;
  t.equal(file(), credentials('two'));
  await watch.adopt(login('three'));
  t.equal(file(), credentials('three'));
  t.equal(lastGood(), credentials('three'));
});

t.test('a damaged history causes only a warning', async (t) => {
  const { watch, log } = await watchLogin(t, {
    ...one,
    '.berth/login-history.json': '{"version":1,"refused":["../../etc"]}',
  });
  t.equal(watch.state.kind, 'valid');
  t.equal(log.count('credentials_unreadable'), 1);
});

t.test('a token is never logged, whatever happens to the token', async (t) => {
  const accessToken = 'an-access-token-of-another-shape';
  const files = { '.credentials.json': credentials('one', { accessToken }) };
  const { path, replace, becomes, log, watch } = await watchLogin(t, files, { patience: never });
  log.log.info('failed', `it was ${accessToken}`, { error: new Error(credentials('one')) });
  replace(credentials('two', { expiresAt: 'soon' }));
  await becomes('torn');
  writeFileSync(path, credentials('three').replace('{', ''));
  await until('it is seen', () => log.text.includes('not valid JSON'));
  await watch.stop();
  t.notMatch(log.text, /another-shape|oat01|ort01/);
  t.match(log.text, /\[redacted\]/);
});

t.test('the file is watched no more after the stop', async (t) => {
  const { watch, replace, states } = await watchLogin(t, one);
  await Promise.all([watch.stop(), watch.stop()]);
  replace(blank);
  await watch.check();
  t.same(states, ['valid']);
  t.equal(watch.state.kind, 'valid');
});

t.test('a put-back that falls into the stop ends, and nothing is judged after it', async (t) => {
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  const { watch, file, replace, events } = await watchLogin(t, one, {
    watcher: (...all) => {
      const watcher = chokidar.watch(...all);
      const end = watcher.close.bind(watcher);
      watcher.close = () => end().then(close);
      return watcher;
    },
  });
  const { history } = watch;
  const record = history.record.bind(history);
  const { promise: stopped, resolve } = Promise.withResolvers<void>();
  history.record = async (fate, id) => {
    history.record = record;
    await record(fate, id);
    void watch.stop().then(resolve);
    // From then on the stop waits for this put-back, under which the file changes.
    await closed;
    replace('[');
  };
  replace('{');
  await stopped;
  // Longer than a write settles, and than a torn file is waited for: by then each timer of before has ended. The
  // check waits for the work that such a timer has begun.
  await pause(100);
  await watch.check();
  t.same(events, ['valid', 'torn']);
  t.equal(file(), '[');
});
