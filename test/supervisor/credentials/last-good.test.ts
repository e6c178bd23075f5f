import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loginId } from '../../../shared/credentials.ts';
import { lastGoodFile } from '../../../shared/state-directory.ts';
import { LastGood, replacedFile } from '../../../supervisor/credentials/last-good.ts';
import type { CredentialsWatch } from '../../../supervisor/credentials/watch.ts';
import { captureLog } from '../../support/captured-log.ts';
import { until } from '../../support/until.ts';
import { blank, credentials, login } from './login-files.ts';
import { watchLogin } from './watched-login.ts';

t.jobs = 4;

const never = 3_600_000;
const one = { '.credentials.json': credentials('one') };

function keep(t: Test) {
  t.teardown(() => {});
  const state = mkdtempSync(join(t.testdir({}), 'state-'));
  const log = captureLog();
  const path = (name: string): string => join(state, name);
  return { lastGood: new LastGood(state, log.log), log, path, state };
}

/** Runs `change` when a login is about to be put back, before the file is written. */
function beforePutBack({ history }: CredentialsWatch, change: () => void): void {
  const record = history.record.bind(history);
  history.record = async (fate, id) => {
    await record(fate, id);
    if (fate === 'put_back') change();
  };
}

t.test('the last good login and the one it replaced are kept for the owner alone', async (t) => {
  const { lastGood, path } = keep(t);
  await lastGood.keepReplaced(login('one'));
  await lastGood.keep(login('two'));
  t.match(await lastGood.all(), [login('two'), login('one')]);
  for (const name of [lastGoodFile, replacedFile])
    t.equal(statSync(path(name)).mode & 0o777, 0o600);
});

t.test('a copy that is damaged, blank or cannot be read is no login', async (t) => {
  const { lastGood, log, path } = keep(t);
  t.same(await lastGood.all(), []);
  writeFileSync(path(lastGoodFile), '{');
  writeFileSync(path(replacedFile), blank);
  t.same(await lastGood.all(), []);
  rmSync(path(lastGoodFile));
  mkdirSync(path(lastGoodFile));
  t.same(await lastGood.all(), []);
  t.match(log.lines, [{ level: 'warn', event: 'credentials_unreadable' }]);
});

t.test('a login that could not be kept counts, and is kept when it can be', async (t) => {
  const { lastGood, log, path } = keep(t);
  mkdirSync(path(lastGoodFile));
  await lastGood.keep(login('one'));
  t.match(await lastGood.all(), [login('one')]);
  for (let tries = 0; tries < 3; tries++) await lastGood.retry();
  t.equal(log.count('credentials_unkept'), 1, 'logged once, not with each try');
  rmSync(path(lastGoodFile), { recursive: true });
  await lastGood.retry();
  t.equal(readFileSync(path(lastGoodFile), 'utf8'), credentials('one'));
});

t.test(
  'the login kept by `berth login` has priority over an earlier login that was not kept',
  async (t) => {
    const { lastGood, path } = keep(t);
    mkdirSync(path(replacedFile));
    await lastGood.keepReplaced(login('one'));
    rmSync(path(replacedFile), { recursive: true });
    writeFileSync(path(replacedFile), credentials('three'));
    t.match(await lastGood.all(), [login('three')]);
    await lastGood.retry();
    t.equal(readFileSync(path(replacedFile), 'utf8'), credentials('three'));
  },
);

t.test('a login file that vanishes is put back once, then the login is lost', async (t) => {
  const { watch, path, file, log, events, becomes } = await watchLogin(t, one);
  rmSync(path);
  await log.logged('credentials_put_back', ({ state }) => state === 'missing');
  t.equal(file(), credentials('one'));
  await becomes('valid');
  t.equal(watch.lost, false);
  rmSync(path);
  await until('it is lost', () => watch.lost);
  t.equal(watch.state.kind, 'missing');
  t.notOk(existsSync(path));
  t.equal(events.filter((event) => event === 'put_back').length, 1);
});

t.test('once is once, over a restart too', async (t) => {
  const { watch, again, path, log } = await watchLogin(t, one);
  writeFileSync(path, '{');
  await log.logged('credentials_put_back');
  await watch.stop();
  const next = again();
  await next.start();
  t.equal(next.state.kind, 'valid');
  writeFileSync(path, '{');
  await until('it is given up', () => next.lost);
  t.equal(readFileSync(path, 'utf8'), '{');
  await next.stop();
});

t.test('a login file that vanished while berth was down is put back', async (t) => {
  const { file, log } = await watchLogin(t, { [`.berth/${lastGoodFile}`]: credentials('one') });
  await log.logged('credentials_put_back', ({ state }) => state === 'missing');
  t.equal(file(), credentials('one'));
});

t.test('a login that was refreshed just before the blank is put back, once', async (t) => {
  const { becomes, replace, file, events, watch, log } = await watchLogin(t, {
    '.credentials.json': credentials('one', { expiresAt: Date.now() + 60_000 }),
  });
  replace(credentials('two'));
  await until('it is seen', () => events.includes('refreshed'));
  // Another process was refused the first one.
  replace(blank);
  await until('it is put back', () => file() === credentials('two'));
  await log.logged('credentials_put_back');
  t.equal(watch.state.kind, 'valid');
  replace(blank);
  await becomes('blank');
  t.equal(watch.lost, true);
  t.equal(file(), blank);
  t.equal(events.filter((event) => event === 'put_back').length, 1);
});

t.test('a login that is blanked again as soon as it was put back is lost', async (t) => {
  const events: string[] = [];
  const { becomes, replace, file, watch } = await watchLogin(
    t,
    { '.credentials.json': credentials('one', { expiresAt: Date.now() + 60_000 }) },
    {
      onEvent(event) {
        events.push(event);
        // Before berth has read what it has written.
        if (event === 'put_back') replace(blank);
      },
    },
  );
  replace(credentials('two'));
  await until('it is seen', () => events.includes('refreshed'));
  replace(blank);
  await becomes('blank');
  t.equal(watch.lost, true);
  t.equal(file(), blank);
  t.equal(events.filter((event) => event === 'put_back').length, 1);
});

t.test('a login that was due when the CLI blanked it is not put back', async (t) => {
  const due = credentials('one', { expiresAt: Date.now() + 4 * 60_000 });
  const { becomes, replace, file, events } = await watchLogin(t, { '.credentials.json': due });
  replace(blank);
  await becomes('blank');
  t.equal(file(), blank);
  t.notOk(events.includes('put_back'));
});

t.test('an old copy over a refreshed login is replaced before its use loses both', async (t) => {
  const { replace, file, events, log } = await watchLogin(t, one);
  replace(credentials('two'));
  await until('it is seen', () => events.includes('refreshed'));
  replace(credentials('one'));
  await log.logged('credentials_put_back', ({ state }) => state === 'older');
  t.equal(file(), credentials('two'));
  t.ok(events.includes('older'));
});

t.test('a new login that the CLI blanks as soon as it is there is not lost', async (t) => {
  const log: string[] = [];
  const { watch, replace, file } = await watchLogin(
    t,
    { '.credentials.json': blank },
    {
      onEvent(event) {
        log.push(event);
        // As it was before, and before berth has read what it has written.
        if (event === 'adopted') replace(blank);
      },
    },
  );
  await watch.adopt(login('two')).catch(() => undefined);
  t.equal(watch.state.kind, 'valid', log.join());
  t.equal(file(), login('two').text);
});

t.test('a new login beside other entries of the file is adopted once', async (t) => {
  const mcpOAuth = { server: { accessToken: 'another' } };
  const text = JSON.stringify({ ...JSON.parse(credentials('one')), mcpOAuth });
  const { watch, file, events } = await watchLogin(t, { '.credentials.json': text });
  await watch.adopt(login('two'));
  t.match(JSON.parse(file()), { ...JSON.parse(credentials('two')), mcpOAuth });
  t.equal(events.filter((event) => event === 'adopted').length, 1);
});

t.test('a new login that is refreshed as soon as it is there stays', async (t) => {
  const { watch, replace, file } = await watchLogin(t, one, {
    onEvent(event) {
      if (event === 'adopted') replace(credentials('three'));
    },
  });
  await watch.adopt(login('two'));
  t.equal(file(), credentials('three'));
  t.equal(watch.state.kind, 'valid');
});

t.test('a new login that is refused at once is replaced by the previous login', async (t) => {
  const { watch, replace, file, log, events } = await watchLogin(t, one);
  const due = login('two', { expiresAt: Date.now() + 60_000 });
  await watch.adopt(due);
  t.equal(file(), due.text);
  t.same(events, ['valid', 'adopted', 'valid']);
  replace(blank);
  await log.logged('credentials_put_back');
  t.equal(file(), credentials('one'));
});

t.test('a login is put back as soon as it can be, without another change', async (t) => {
  const { watch, path, file, log, replace, becomes } = await watchLogin(t, one, {
    ...{ pause: 20, interval: never },
  });
  // A directory cannot be replaced by a file, whoever this runs as.
  beforePutBack(watch, () => {
    if (withdrawn === 3) return;
    rmSync(path, { recursive: true });
    mkdirSync(path);
  });
  const { history } = watch;
  const withdraw = history.withdraw.bind(history);
  let withdrawn = 0;
  history.withdraw = async (fate, id) => {
    await withdraw(fate, id);
    withdrawn += 1;
    rmSync(path, { recursive: true });
    writeFileSync(path, '{');
  };
  const began = Date.now();
  replace('{');
  t.match(await log.logged('credentials_unkept'), { level: 'error', attempts: 1, retry_ms: 20 });
  t.equal(watch.lost, true);
  t.match(watch.waiting, { attempts: Number });
  const since = watch.waiting?.since ?? 0;
  t.ok(since >= began && since <= Date.now(), 'the time of the first failure');
  t.match(await log.logged('credentials_put_back'), { attempts: 4, waited_ms: Number });
  t.equal(file(), credentials('one'));
  await becomes('valid');
  t.same([watch.lost, watch.waiting], [false, undefined]);
  const errors = log.lines.filter(
    ({ event, level }) => event === 'credentials_unkept' && level === 'error',
  );
  t.equal(errors.length, 1, 'logged once, not with each try');
});

t.test('another login ends the tries to put the last good one back', async (t) => {
  const { watch, path, log, replace, becomes } = await watchLogin(t, one, { pause: 300 });
  beforePutBack(watch, () => {
    rmSync(path);
    mkdirSync(path);
  });
  replace('{');
  await log.logged('credentials_unkept');
  rmSync(path, { recursive: true });
  replace(credentials('two'));
  await becomes('valid');
  t.same([watch.lost, watch.waiting], [false, undefined]);
  t.equal(log.count('credentials_put_back'), 0);
});

t.test('a login that comes while the last good one is put back stays', async (t) => {
  const { watch, file, log, replace, events } = await watchLogin(t, one);
  beforePutBack(watch, () => replace(credentials('two')));
  replace('{');
  const second = loginId(login('two'));
  await log.logged('credentials_seen', ({ refresh_token_id: id }) => id === second);
  t.equal(file(), credentials('two'));
  t.notOk(events.includes('put_back'));
  t.notOk(watch.history.is('put_back', loginId(login('one'))), 'it may be put back later');
});

t.test('a file that changes under the put-back, and back again, is not forgotten', async (t) => {
  const { watch, path, file, log, replace } = await watchLogin(t, one);
  const { history } = watch;
  let changes = 0;
  beforePutBack(watch, () => {
    changes += 1;
    if (changes === 1) writeFileSync(path, '[');
  });
  const withdraw = history.withdraw.bind(history);
  history.withdraw = async (fate, id) => {
    await withdraw(fate, id);
    writeFileSync(path, '{');
  };
  replace('{');
  await log.logged('credentials_put_back');
  t.equal(file(), credentials('one'));
});

t.test('nothing is put back in the middle of a refresh', async (t) => {
  const { watch, file, log, replace, lock } = await watchLogin(t, one, { pause: 20 });
  mkdirSync(lock);
  replace('{');
  t.match(await log.logged('credentials_unkept'), { msg: /a process is refreshing the login/ });
  t.ok(watch.waiting);
  t.equal(file(), '{');
  rmSync(lock, { recursive: true });
  await log.logged('credentials_put_back');
  t.equal(file(), credentials('one'));
  t.notOk(existsSync(lock));
});

t.test(
  'a login that waits to be restored is not recorded as refused by a second check',
  async (t) => {
    let now = Date.now();
    let refusals = 0;
    const { watch, path, log, lock, replace, events, becomes } = await watchLogin(t, one, {
      ...{ patience: never, pause: never },
      ...{ now: () => now, onRefused: () => (refusals += 1) },
    });
    const withOther = JSON.stringify({ ...JSON.parse(blank), mcpOAuth: { server: {} } });
    const blanks = () => events.filter((event) => event === 'blank').length;
    mkdirSync(lock);
    replace(blank);
    await becomes('blank');
    t.ok(watch.waiting);
    now += 61_000;
    // The CLI writes what it keeps beside the login.
    replace(withOther);
    await watch.check();
    t.equal(blanks(), 2);
    t.ok(watch.waiting);
    // A read that fails, and then the same content again.
    rmSync(path);
    mkdirSync(path);
    await watch.check();
    t.equal(log.count('credentials_unreadable'), 1);
    rmSync(path, { recursive: true });
    replace(blank);
    await watch.check();
    t.equal(blanks(), 3);
    t.ok(watch.waiting);
    t.equal(refusals, 1);
    t.notOk(watch.history.is('refused', loginId(login('one'))));
    rmSync(lock, { recursive: true });
    replace(withOther);
    await becomes('valid');
    // The next refusal is one of this login.
    now += 61_000;
    replace(blank);
    await becomes('blank');
    t.equal(refusals, 2);
    t.ok(watch.history.is('refused', loginId(login('one'))));
  },
);
