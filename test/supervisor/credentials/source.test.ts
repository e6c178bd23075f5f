import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { judgeCredentials } from '../../../shared/credentials.ts';
import type { CredentialsPolicy } from '../../../shared/credentials-choice.ts';
import { readAppliedSource, writeAppliedSource } from '../../../shared/credentials-memory.ts';
import { digestOf } from '../../../shared/digest.ts';
import { refreshLock } from '../../../supervisor/claude/locks.ts';
import { Login } from '../../../supervisor/credentials/login.ts';
import { LoginFileChanged } from '../../../supervisor/credentials/login-file.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { until } from '../../support/until.ts';
import { blank, credentials } from './login-files.ts';

t.jobs = 4;

interface Situation {
  volume?: string;
  source?: string;
  applied?: string;
  policy?: CredentialsPolicy;
}

/** A login with its source mounted as Kubernetes mounts a Secret. */
async function start(t: Test, { volume, source, applied, policy = 'fresher' }: Situation) {
  const directory = testDirectory(t, { config: { '.berth': {} }, secret: {} });
  const config = join(directory, 'config');
  const stateDirectory = join(config, '.berth');
  const path = join(config, '.credentials.json');
  const secret = join(directory, 'secret');
  if (volume !== undefined) writeFileSync(path, volume);
  if (applied !== undefined) {
    const judged = judgeCredentials(applied);
    if (judged.kind === 'valid') await writeAppliedSource(stateDirectory, judged.credentials);
  }
  let serial = 0;
  const provide = (text: string): void => {
    const version = `..${++serial}`;
    mkdirSync(join(secret, version));
    writeFileSync(join(secret, version, 'credentials.json'), text);
    symlinkSync(version, join(secret, '..data_tmp'));
    renameSync(join(secret, '..data_tmp'), join(secret, '..data'));
    if (serial === 1) symlinkSync('..data/credentials.json', join(secret, 'credentials.json'));
  };
  if (source !== undefined) provide(source);
  const log = captureLog();
  const login = new Login({
    ...{ configDirectory: config, stateDirectory, policy, log: log.log, interval: 5 },
    source: join(secret, 'credentials.json'),
    onChange: () => {},
  });
  t.teardown(() => login.stop());
  await login.start();
  return {
    ...{ login, log, provide, path, secret },
    volume: () => readFileSync(path, 'utf8'),
    applied: async () => (await readAppliedSource(stateDirectory))?.digest,
    becomes: (text: string) =>
      until('the volume has it', () => readFileSync(path, 'utf8') === text),
  };
}

t.test('a new login in the Secret reaches the CLI without a restart', async (t) => {
  const { provide, becomes, applied, login, log } = await start(t, {
    volume: credentials('refreshed'),
    source: credentials('one'),
    applied: credentials('one'),
  });
  const sooner = credentials('two', { expiresAt: Date.now() + 3_600_000 });
  provide(sooner);
  await becomes(sooner);
  await until('it is noted', async () => (await applied()) === digestOf(sooner));
  t.equal(login.state.kind, 'valid');
  await log.logged('credentials_applied');
  t.notMatch(log.text, /oat01|ort01/);
});

t.test('an unchanged source never replaces a login that the CLI refreshed', async (t) => {
  const { volume, provide, log, applied } = await start(t, {
    volume: credentials('refreshed', { expiresAt: Date.now() }),
    source: credentials('one'),
    applied: credentials('one'),
  });
  // Mounted anew, as after a change of another key.
  provide(credentials('one'));
  const renderedAgain = `${credentials('one')}\n`;
  provide(renderedAgain);
  await until('it is noted', async () => (await applied()) === digestOf(renderedAgain));
  provide('{');
  await log.logged('credentials_unreadable');
  t.match(volume(), /refreshed/);
});

t.test('a new login in the source replaces a lost login', async (t) => {
  const { provide, becomes, login } = await start(t, { volume: blank });
  t.equal(login.watch.lost, true);
  t.match(login.refusal, {
    code: 'login_required',
    message: /log in again: put the token of a new/,
  });
  provide(credentials('new'));
  await becomes(credentials('new'));
  await until('it is good', () => login.refusal === undefined && !login.watch.lost);
});

t.test('a login that is used up or refused never returns through the Secret', async (t) => {
  const { provide, login, volume, log, path } = await start(t, { volume: credentials('one') });
  writeFileSync(path, credentials('two'));
  await until('it is refreshed', () => login.watch.refreshedAt !== undefined);
  provide(credentials('one'));
  await log.logged('credentials_unreadable', ({ from }) => from === 'source');
  t.match(volume(), /access-two/);
});

t.test('where nothing is known of the source, the later expiry wins', async (t) => {
  const soon = credentials('two', { expiresAt: Date.now() + 1_000 });
  const { volume, applied } = await start(t, { volume: credentials('one'), source: soon });
  t.equal(volume(), credentials('one'));
  t.equal(await applied(), digestOf(soon));
});

t.test('the policy `volume` keeps the login on the volume while valid', async (t) => {
  const { volume, provide, applied } = await start(t, {
    volume: credentials('one'),
    policy: 'volume',
  });
  provide(credentials('two'));
  await until('it is noted', async () => (await applied()) === digestOf(credentials('two')));
  t.equal(volume(), credentials('one'));
});

t.test('a malformed or missing Secret is logged once and changes nothing', async (t) => {
  const { volume, provide, log, secret, becomes } = await start(t, { volume: credentials('one') });
  provide('not a login');
  await log.logged('credentials_unreadable', ({ msg }) => msg.includes('correct the Secret'));
  rmSync(join(secret, 'credentials.json'));
  rmSync(join(secret, '..data'));
  t.equal(volume(), credentials('one'));
  t.equal(log.count('credentials_unreadable'), 1);
  symlinkSync('..3', join(secret, '..data'));
  mkdirSync(join(secret, '..3'));
  writeFileSync(join(secret, '..3', 'credentials.json'), credentials('two'));
  symlinkSync('..data/credentials.json', join(secret, 'credentials.json'));
  // Its expiry is the same: the volume stays, for nothing was applied before.
  provide(credentials('three', { expiresAt: Date.parse('2031-01-01T00:00:00Z') }));
  await becomes(credentials('three', { expiresAt: Date.parse('2031-01-01T00:00:00Z') }));
});

t.test(
  'each outage of the mounted file is logged once, also if the cause is the same',
  async (t) => {
    const source = credentials('one');
    const { log, secret, provide, becomes } = await start(t, {
      ...{ volume: credentials('refreshed'), source, applied: source },
    });
    mkdirSync(join(secret, '..broken', 'credentials.json'), { recursive: true });
    const show = (version: string): void => {
      symlinkSync(version, join(secret, '..data_tmp'));
      renameSync(join(secret, '..data_tmp'), join(secret, '..data'));
    };
    const outages = () => log.count('credentials_unreadable');
    show('..broken');
    await until('the outage is logged', () => outages() === 1);
    let version = '..broken';
    await until('the next outage is logged', () => {
      if (outages() > 1) return true;
      version = version === '..1' ? '..broken' : '..1';
      show(version);
      return false;
    });
    const sooner = credentials('two', { expiresAt: Date.now() + 3_600_000 });
    provide(sooner);
    await becomes(sooner);
  },
);

t.test(
  'if another login arrives first, the source is retried, and the retry is logged',
  async (t) => {
    const { login, log, provide, becomes } = await start(t, {
      volume: credentials('one'),
      applied: credentials('zero'),
    });
    const { watch } = login;
    const adopt = watch.adopt.bind(watch);
    watch.adopt = () => {
      watch.adopt = adopt;
      return Promise.reject(new LoginFileChanged());
    };
    provide(credentials('two'));
    await becomes(credentials('two'));
    await log.logged('credentials_applied');
    const told = log.lines.filter(({ from }) => from === 'source').map(({ msg }) => msg);
    t.match(told, [/is changing now; berth retries/]);
    t.notMatch(log.text, /correct the Secret/);
  },
);

t.test('a source is not taken in the middle of a refresh, which would undo it', async (t) => {
  const { login, log, provide, becomes, volume, path } = await start(t, {
    volume: credentials('one'),
    applied: credentials('zero'),
  });
  const lock = join(path, '..', refreshLock);
  mkdirSync(lock);
  provide(credentials('three'));
  await log.logged('credentials_seen', ({ from }) => from === 'source');
  t.equal(volume(), credentials('one'));
  writeFileSync(path, credentials('two'));
  rmSync(lock, { recursive: true });
  await becomes(credentials('three'));
  await log.logged('credentials_applied');
  t.ok(login.watch.refreshedAt, 'what the refresh brought was seen before it was replaced');
  t.equal(log.lines.filter(({ from }) => from === 'source').length, 1);
});

t.test('if settings.json provides another login, a blank file refuses no prompt', async (t) => {
  const { path, login } = await start(t, { volume: credentials('one', { expiresAt: 1 }) });
  writeFileSync(join(path, '..', 'settings.json'), '{"apiKeyHelper":"/bin/key"}');
  writeFileSync(path, blank);
  await until('it is lost', () => login.watch.lost);
  t.equal(login.refusal, undefined);
});

t.test(
  'a login of the settings ends the loss of the login file, and its end brings the loss back',
  async (t) => {
    const { login, path } = await start(t, { volume: blank });
    await until('it is lost', () => login.refusal !== undefined);
    const settings = join(path, '../settings.json');
    await login.review();
    t.match(login.refusal, { code: 'login_required' });
    writeFileSync(settings, '{"apiKeyHelper":"echo key"}');
    await login.review();
    t.equal(login.refusal, undefined);
    rmSync(settings);
    await login.review();
    t.match(login.refusal, { code: 'login_required' });
  },
);
