import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { FSWatcher } from 'chokidar';
import t, { type Test } from 'tap';
import { judgeCredentials, loginId } from '../../../shared/credentials.ts';
import { lastGoodFile } from '../../../shared/state-directory.ts';
import { refreshLock } from '../../../supervisor/claude/locks.ts';
import { replacedFile } from '../../../supervisor/credentials/last-good.ts';
import {
  type CredentialsState,
  LoginFileChanged,
} from '../../../supervisor/credentials/login-file.ts';
import {
  CredentialsWatch,
  type CredentialsWatchOptions,
} from '../../../supervisor/credentials/watch.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { until } from '../../support/until.ts';
import { blank, credentials } from './login-files.ts';

t.jobs = 4;

const expiresAt = Date.parse('2030-01-01T00:00:00Z');

/** Names the login `credentials(id)`. */
function idOf(id: string): string {
  const judged = judgeCredentials(credentials(id));
  return judged.kind === 'valid' ? loginId(judged.credentials) : '';
}

async function watch(
  t: Test,
  files: Record<string, string> = {},
  patience = 30,
  options: Partial<CredentialsWatchOptions> = {},
) {
  const config = testDirectory(t, { '.berth': {} });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(config, name), content);
  const path = join(config, '.credentials.json');
  const kept = join(config, '.berth', lastGoodFile);
  const states: CredentialsState['kind'][] = [];
  const events: string[] = [];
  const log = captureLog();
  const make = (): CredentialsWatch =>
    new CredentialsWatch({
      configDirectory: config,
      stateDirectory: join(config, '.berth'),
      log: log.log,
      onChange: ({ kind }) => states.push(kind),
      onEvent: (event) => events.push(event),
      settle: 5,
      patience,
      ...options,
    });
  const watching = make();
  t.teardown(() => watching.stop());
  await watching.start();
  return {
    watching,
    /** Another on the same files. */
    again: make,
    path,
    states,
    events,
    log,
    lastGood: () => (existsSync(kept) ? readFileSync(kept, 'utf8') : undefined),
    kept,
    becomes: (kind: string) => until(`it is ${kind}`, () => watching.state.kind === kind),
    /** As the CLI writes: a new file that is renamed into place. */
    replace(content: string) {
      writeFileSync(`${path}.tmp.0123abcd`, content, { mode: 0o600 });
      renameSync(`${path}.tmp.0123abcd`, path);
    },
  };
}

t.test('valid ones are told with their expiry and kept, for nobody else to read', async (t) => {
  const rest = { refreshTokenExpiresAt: expiresAt + 86_400_000 };
  const { watching, lastGood, kept, log } = await watch(t, {
    '.credentials.json': credentials('one', rest),
  });
  t.match(watching.state, { kind: 'valid', credentials: { expiresAt } });
  t.equal(lastGood(), credentials('one', rest));
  t.equal(statSync(kept).mode & 0o777, 0o600);
  t.match(log.lines, [
    {
      level: 'info',
      event: 'credentials_seen',
      state: 'valid',
      expires_at: '2030-01-01T00:00:00.000Z',
      login_expires_at: '2030-01-02T00:00:00.000Z',
      refresh_token_id: /^[0-9a-f]{12}$/,
    },
  ]);
});

t.test('missing ones are no error, and are seen when they come', async (t) => {
  const { watching, becomes, replace, lastGood, log } = await watch(t);
  t.equal(watching.state.kind, 'missing');
  t.equal(lastGood(), undefined);
  t.notOk(log.lines.some(({ level }) => level === 'error'));
  replace(credentials('one'));
  await becomes('valid');
  await until('they are kept', () => lastGood() === credentials('one'));
});

t.test('each replacement by a rename is seen, also the second and the third', async (t) => {
  const { replace, lastGood } = await watch(t, { '.credentials.json': credentials('zero') });
  for (const id of ['one', 'two', 'three']) {
    replace(credentials(id));
    await until(`${id} is kept`, () => lastGood() === credentials(id));
  }
});

t.test('a blank one is told as an error and never replaces the last good one', async (t) => {
  const old = credentials('one', { expiresAt: Date.now() + 60_000 });
  const { watching, path, becomes, replace, lastGood, log, states } = await watch(t, {
    '.credentials.json': old,
  });
  replace(blank);
  await becomes('blank');
  t.equal(watching.lost, true);
  t.equal(lastGood(), old);
  rmSync(path);
  await becomes('missing');
  t.equal(watching.lost, true, 'what was refused is still lost');
  replace(credentials('two'));
  await becomes('valid');
  t.equal(watching.lost, false);
  await until('they are kept', () => lastGood() === credentials('two'));
  t.same([...new Set(states)], ['valid', 'blank', 'missing']);
  const errors = log.lines.filter(({ level }) => level === 'error').map(({ msg }) => msg);
  t.match(errors, [/has blanked its credentials: log in again/]);
});

t.test('what was refused is not put back: it was due when the CLI blanked it', async (t) => {
  const due = credentials('one', { expiresAt: Date.now() + 4 * 60_000 });
  const { becomes, replace, path, events } = await watch(t, { '.credentials.json': due });
  replace(blank);
  await becomes('blank');
  t.equal(readFileSync(path, 'utf8'), blank);
  t.notOk(events.includes('put_back'));
});

t.test('a login that was refreshed just before the blank is put back, once', async (t) => {
  const { becomes, replace, path, events, watching, log } = await watch(t, {
    '.credentials.json': credentials('one', { expiresAt: Date.now() + 60_000 }),
  });
  replace(credentials('two'));
  await until('it is seen', () => events.includes('refreshed'));
  // Another process was refused the first one.
  replace(blank);
  await until('it is put back', () => readFileSync(path, 'utf8') === credentials('two'));
  await log.logged('credentials_put_back');
  t.equal(watching.state.kind, 'valid');
  replace(blank);
  await becomes('blank');
  t.equal(watching.lost, true);
  t.equal(readFileSync(path, 'utf8'), blank);
  t.equal(events.filter((event) => event === 'put_back').length, 1);
});

t.test('once is once, over a restart too', async (t) => {
  const first = await watch(t, { '.credentials.json': credentials('one') });
  writeFileSync(first.path, '{');
  await first.log.logged('credentials_put_back');
  await first.watching.stop();
  const again = first.again();
  await again.start();
  t.equal(again.state.kind, 'valid');
  writeFileSync(first.path, '{');
  await until('it is given up', () => again.lost);
  t.equal(readFileSync(first.path, 'utf8'), '{');
  await again.stop();
});

t.test('a torn file gets time to be finished, then the last good one is put back', async (t) => {
  const { path, becomes, events, log } = await watch(
    t,
    { '.credentials.json': credentials('one') },
    2_000,
  );
  writeFileSync(path, credentials('two').slice(0, 30));
  await becomes('torn');
  writeFileSync(path, credentials('two'));
  await becomes('valid');
  t.notOk(events.includes('put_back'));
  writeFileSync(path, '');
  await log.logged('credentials_put_back', ({ state }) => state === 'torn');
  t.equal(readFileSync(path, 'utf8'), credentials('two'));
  t.match(log.text, /is no good: it is not valid JSON/);
  t.match(log.text, /is no good: it is empty/);
});

t.test('a read that fails loses no login: it is read again, several times', async (t) => {
  const { watching, path, becomes, events, states, log } = await watch(
    t,
    { '.credentials.json': credentials('one') },
    500,
  );
  const linkInPlace = (): void => {
    symlinkSync('elsewhere.json', `${path}.link`);
    renameSync(`${path}.link`, path);
  };
  linkInPlace();
  await watching.check();
  t.equal(log.count('credentials_unreadable'), 1);
  t.match([watching.state.kind, watching.lost], ['valid', false]);
  writeFileSync(`${path}.tmp`, credentials('one'));
  renameSync(`${path}.tmp`, path);
  await until('it is read again', () => states.length === 2);
  t.same(states, ['valid', 'valid']);
  linkInPlace();
  for (let tries = 0; tries < 5; tries++) await watching.check();
  await becomes('torn');
  t.equal(watching.lost, true);
  t.notOk(events.includes('put_back'));
});

t.test('a login file that vanishes is put back once, then the login is lost', async (t) => {
  const { watching, path, log, events, becomes } = await watch(t, {
    '.credentials.json': credentials('one'),
  });
  rmSync(path);
  await log.logged('credentials_put_back', ({ state }) => state === 'missing');
  t.equal(readFileSync(path, 'utf8'), credentials('one'));
  await becomes('valid');
  t.equal(watching.lost, false);
  rmSync(path);
  await until('it is lost', () => watching.lost);
  t.equal(watching.state.kind, 'missing');
  t.notOk(existsSync(path));
  t.equal(events.filter((event) => event === 'put_back').length, 1);
});

t.test('one that vanished while nobody watched is put back from the last good one', async (t) => {
  const { path, log } = await watch(t, { [`.berth/${lastGoodFile}`]: credentials('one') });
  await log.logged('credentials_put_back', ({ state }) => state === 'missing');
  t.equal(readFileSync(path, 'utf8'), credentials('one'));
});

t.test(
  'a login that cannot be put back is put back when it can be, without another change',
  async (t) => {
    const { watching, path, log, replace, events, becomes } = await watch(
      t,
      { '.credentials.json': credentials('one') },
      30,
      { pause: 20, interval: 3_600_000 },
    );
    const before = readFileSync(path, 'utf8');
    const { history } = watching;
    const record = history.record.bind(history);
    history.record = async (fate, id) => {
      await record(fate, id);
      if (fate !== 'put_back' || events.includes('put_back')) return;
      // A directory cannot be replaced by a file, whoever this runs as.
      rmSync(path, { recursive: true });
      mkdirSync(path);
    };
    const withdraw = history.withdraw.bind(history);
    let failed = 0;
    history.withdraw = async (fate, id) => {
      await withdraw(fate, id);
      failed += 1;
      rmSync(path, { recursive: true });
      writeFileSync(path, '{');
      if (failed === 3) history.record = record;
    };
    replace('{');
    t.match(await log.logged('credentials_unkept'), { level: 'error', attempts: 1, retry_ms: 20 });
    t.equal(watching.lost, true);
    t.match(watching.waiting, { attempts: Number, since: Number });
    t.match(await log.logged('credentials_put_back'), { attempts: 4, waited_ms: Number });
    t.equal(readFileSync(path, 'utf8'), before);
    await becomes('valid');
    t.same([watching.lost, watching.waiting], [false, undefined]);
    const errors = log.lines.filter(
      ({ event, level }) => event === 'credentials_unkept' && level === 'error',
    );
    t.equal(errors.length, 1, 'said once, not with each try');
  },
);

t.test('another login ends the tries to put the last good one back', async (t) => {
  const { watching, path, log, replace, becomes } = await watch(
    t,
    { '.credentials.json': credentials('one') },
    30,
    { pause: 300 },
  );
  const { history } = watching;
  const record = history.record.bind(history);
  history.record = async (fate, id) => {
    await record(fate, id);
    if (fate !== 'put_back') return;
    rmSync(path);
    mkdirSync(path);
  };
  replace('{');
  await log.logged('credentials_unkept');
  rmSync(path, { recursive: true });
  replace(credentials('two'));
  await becomes('valid');
  t.same([watching.lost, watching.waiting], [false, undefined]);
  t.equal(log.count('credentials_put_back'), 0);
});

t.test('a login that comes while the last good one is put back stays', async (t) => {
  const { watching, path, log, replace, events } = await watch(t, {
    '.credentials.json': credentials('one'),
  });
  const { history } = watching;
  const record = history.record.bind(history);
  history.record = async (fate, id) => {
    await record(fate, id);
    if (fate === 'put_back') replace(credentials('two'));
  };
  replace('{');
  await log.logged(
    'credentials_seen',
    ({ state, refresh_token_id }) => state === 'valid' && refresh_token_id === idOf('two'),
  );
  t.equal(readFileSync(path, 'utf8'), credentials('two'));
  t.notOk(events.includes('put_back'));
  t.notOk(history.is('put_back', idOf('one')), 'what was not put back may be later');
});

t.test('nothing is put back in the middle of a refresh', async (t) => {
  const { watching, path, log, replace } = await watch(
    t,
    { '.credentials.json': credentials('one') },
    30,
    { pause: 20 },
  );
  const lock = join(path, '..', refreshLock);
  mkdirSync(lock);
  replace('{');
  t.match(await log.logged('credentials_unkept'), { msg: /a process is refreshing the login/ });
  t.ok(watching.waiting);
  t.equal(readFileSync(path, 'utf8'), '{');
  rmSync(lock, { recursive: true });
  await log.logged('credentials_put_back');
  t.equal(readFileSync(path, 'utf8'), credentials('one'));
  t.notOk(existsSync(lock));
});

t.test('a login that waits to be put back is not condemned by a second look', async (t) => {
  let now = Date.now();
  let refusals = 0;
  const { watching, path, log, replace, events, becomes } = await watch(
    t,
    { '.credentials.json': credentials('one') },
    3_600_000,
    { pause: 3_600_000, now: () => now, onRefused: () => (refusals += 1) },
  );
  const lock = join(path, '..', refreshLock);
  mkdirSync(lock);
  replace(blank);
  await becomes('blank');
  t.ok(watching.waiting);
  now += 61_000;
  // The CLI writes what it keeps beside the login.
  replace(JSON.stringify({ ...JSON.parse(blank), mcpOAuth: { server: {} } }));
  await watching.check();
  t.equal(events.filter((event) => event === 'blank').length, 2);
  t.ok(watching.waiting);
  // A read that fails, and the same again.
  rmSync(path);
  mkdirSync(path);
  await watching.check();
  t.equal(log.count('credentials_unreadable'), 1);
  rmSync(path, { recursive: true });
  replace(blank);
  await watching.check();
  t.equal(events.filter((event) => event === 'blank').length, 3);
  t.ok(watching.waiting);
  t.equal(refusals, 1);
  t.notOk(watching.history.is('refused', idOf('one')));
  rmSync(lock, { recursive: true });
  replace(JSON.stringify({ ...JSON.parse(blank), mcpOAuth: { server: {} } }));
  await becomes('valid');
  // The next refusal is one of this login.
  now += 61_000;
  replace(blank);
  await becomes('blank');
  t.equal(refusals, 2);
  t.ok(watching.history.is('refused', idOf('one')));
});

t.test('a file that changes under the put-back, and back again, is not forgotten', async (t) => {
  const { watching, path, log, replace } = await watch(t, {
    '.credentials.json': credentials('one'),
  });
  const { history } = watching;
  const record = history.record.bind(history);
  history.record = async (fate, id) => {
    await record(fate, id);
    if (fate === 'put_back') writeFileSync(path, '[');
  };
  const withdraw = history.withdraw.bind(history);
  history.withdraw = async (fate, id) => {
    history.record = record;
    await withdraw(fate, id);
    writeFileSync(path, '{');
  };
  replace('{');
  await log.logged('credentials_put_back');
  t.equal(readFileSync(path, 'utf8'), credentials('one'));
});

t.test('a login that nobody has judged yet is not replaced by one from the source', async (t) => {
  const { watching, path, replace, lastGood } = await watch(
    t,
    { '.credentials.json': credentials('one') },
    30,
    { settle: 3_600_000, interval: 3_600_000 },
  );
  const judged = judgeCredentials(credentials('three'));
  if (judged.kind !== 'valid') throw new Error('it is valid');
  replace(credentials('two'));
  t.type(await watching.adopt(judged.credentials).catch((error) => error), LoginFileChanged);
  t.equal(readFileSync(path, 'utf8'), credentials('two'));
  // It was chosen when `one` was there, and comes to its turn after `two` was judged.
  const looked = watching.check();
  t.type(await watching.adopt(judged.credentials).catch((error) => error), LoginFileChanged);
  await looked;
  t.equal(readFileSync(path, 'utf8'), credentials('two'));
  await watching.adopt(judged.credentials);
  t.equal(readFileSync(path, 'utf8'), credentials('three'));
  t.equal(lastGood(), credentials('three'));
});

t.test('a watcher that is never ready and tells nothing is done without', async (t) => {
  const { replace, becomes, log, watching } = await watch(t, {}, 30, {
    watcher: () => new FSWatcher(),
    readyWithin: 10,
    interval: 10,
  });
  t.match(log.text, /is not ready; the file is read at intervals/);
  t.equal(watching.state.kind, 'missing');
  replace(credentials('one'));
  await becomes('valid');
});

t.test('an old copy over a refreshed login is replaced before its use loses both', async (t) => {
  const { replace, path, events, log } = await watch(t, {
    '.credentials.json': credentials('one'),
  });
  replace(credentials('two'));
  await until('it is seen', () => events.includes('refreshed'));
  replace(credentials('one'));
  await log.logged('credentials_put_back', ({ state }) => state === 'older');
  t.equal(readFileSync(path, 'utf8'), credentials('two'));
  t.ok(events.includes('older'));
});

t.test('what the CLI keeps beside the login stays when the login is put back', async (t) => {
  const { replace, path, log } = await watch(t, { '.credentials.json': credentials('one') });
  replace(JSON.stringify({ ...JSON.parse(blank), mcpOAuth: { server: { accessToken: 'x' } } }));
  await log.logged('credentials_put_back');
  t.match(JSON.parse(readFileSync(path, 'utf8')), {
    mcpOAuth: { server: { accessToken: 'x' } },
    claudeAiOauth: JSON.parse(credentials('one')).claudeAiOauth,
  });
});

t.test('a new login that is refused at once gives way to the one that it replaced', async (t) => {
  const { watching, replace, path, log, events } = await watch(t, {
    '.credentials.json': credentials('one'),
  });
  const due = credentials('two', { expiresAt: Date.now() + 60_000 });
  const judged = judgeCredentials(due);
  if (judged.kind !== 'valid') throw new Error('it is valid');
  await watching.adopt(judged.credentials);
  t.equal(readFileSync(path, 'utf8'), due);
  t.same(events, ['valid', 'adopted', 'valid']);
  replace(blank);
  await log.logged('credentials_put_back');
  t.equal(readFileSync(path, 'utf8'), credentials('one'));
});

t.test('a last good login that could not be kept is kept when it can be', async (t) => {
  const { watching, replace, kept, lastGood, log, becomes } = await watch(t, {}, 30, {
    interval: 20,
  });
  mkdirSync(kept);
  replace(credentials('one'));
  await becomes('valid');
  await log.logged('credentials_unkept');
  for (let tries = 0; tries < 3; tries++) await watching.check();
  t.equal(log.count('credentials_unkept'), 1, 'said once, not with each try');
  rmSync(kept, { recursive: true });
  await until('it is kept', () => lastGood() === credentials('one'));
});

t.test('what `berth login` has kept goes before what could not be kept earlier', async (t) => {
  const { watching, replace, path, log } = await watch(t, {
    '.credentials.json': credentials('one'),
  });
  const replaced = join(path, '..', '.berth', replacedFile);
  mkdirSync(replaced);
  const due = credentials('two', { expiresAt: Date.now() + 60_000 });
  const judged = judgeCredentials(due);
  if (judged.kind !== 'valid') throw new Error('it is valid');
  await watching.adopt(judged.credentials);
  t.equal(log.count('credentials_unkept'), 1);
  rmSync(replaced, { recursive: true });
  writeFileSync(replaced, credentials('three'));
  replace(blank);
  await log.logged('credentials_put_back');
  t.equal(readFileSync(path, 'utf8'), credentials('three'));
  await watching.check();
  t.equal(readFileSync(replaced, 'utf8'), credentials('three'));
});

t.test('a history that somebody has damaged costs a warning alone', async (t) => {
  const { watching, log } = await watch(t, {
    '.credentials.json': credentials('one'),
    '.berth/login-history.json': '{"version":1,"refused":["../../etc"]}',
  });
  t.equal(watching.state.kind, 'valid');
  t.equal(log.count('credentials_unreadable'), 1);
});

t.test('an empty file is not the same as none', async (t) => {
  const { path, watching, becomes } = await watch(t);
  t.equal(watching.state.kind, 'missing');
  writeFileSync(path, '');
  await becomes('torn');
});

t.test(
  'a planted symlink is not read, and the same credentials are valid again later',
  async (t) => {
    const { path, becomes, replace, log } = await watch(t, {
      '.credentials.json': credentials('one'),
      'elsewhere.json': credentials('two'),
    });
    rmSync(path);
    symlinkSync('elsewhere.json', path);
    await becomes('torn');
    await log.logged('credentials_unreadable');
    rmSync(path);
    replace(credentials('one'));
    await becomes('valid');
  },
);

t.test('the same content written again is not told again', async (t) => {
  const due = credentials('one', { expiresAt: Date.now() });
  const { replace, becomes, states, log } = await watch(t, { '.credentials.json': due });
  replace(due);
  replace(due);
  replace(blank);
  await becomes('blank');
  t.same(states, ['valid', 'blank']);
  t.equal(log.count('credentials_seen'), 2);
});

t.test('other files beside it are not its business', async (t) => {
  const due = credentials('one', { expiresAt: Date.now() });
  const { path, states, becomes } = await watch(t, { '.credentials.json': due });
  writeFileSync(join(path, '..', '.claude.json'), '{}');
  writeFileSync(`${path}.tmp.9999`, blank);
  writeFileSync(path, blank);
  await becomes('blank');
  t.same(states, ['valid', 'blank']);
});

t.test('a token is never in the log, whatever happens to it', async (t) => {
  const { path, replace, becomes, log, watching } = await watch(
    t,
    {
      '.credentials.json': credentials('one', { accessToken: 'an-access-token-of-another-shape' }),
    },
    60_000,
  );
  log.log.info('failed', 'it was an-access-token-of-another-shape', {
    error: new Error(credentials('one')),
  });
  replace(credentials('two', { expiresAt: 'soon' }));
  await becomes('torn');
  writeFileSync(path, credentials('three').replace('{', ''));
  await until('it is seen', () => log.text.includes('not valid JSON'));
  await watching.stop();
  t.notMatch(log.text, /another-shape|oat01|ort01/);
  t.match(log.text, /\[redacted\]/);
});

t.test('it is watched no more after the stop', async (t) => {
  const { watching, replace, states } = await watch(t, { '.credentials.json': credentials('one') });
  await Promise.all([watching.stop(), watching.stop()]);
  replace(blank);
  t.same(states, ['valid']);
  t.equal(watching.state.kind, 'valid');
});

t.test(
  'nothing is judged or put back after the stop, though it fell into a put-back',
  async (t) => {
    const { watching, path, replace, events } = await watch(t, {
      '.credentials.json': credentials('one'),
    });
    const { history } = watching;
    const record = history.record.bind(history);
    const { promise: stopped, resolve } = Promise.withResolvers<void>();
    history.record = async (fate, id) => {
      history.record = record;
      await record(fate, id);
      void watching.stop().then(resolve);
      // The stop has ended the looks by then, and waits for this put-back, which is overtaken.
      await delay(100);
      replace('[');
    };
    replace('{');
    await stopped;
    // Longer than the pause of a write, and than a torn file is waited for.
    await delay(200);
    await watching.check();
    t.same(events, ['valid', 'torn']);
    t.equal(readFileSync(path, 'utf8'), '[');
  },
);
