import {
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { lastGoodFile } from '../../../shared/state-directory.ts';
import { type CredentialsState, CredentialsWatch } from '../../../supervisor/credentials/watch.ts';
import { captureLog } from '../../support/captured-log.ts';
import { until } from '../../support/until.ts';

t.jobs = 4;

const expiresAt = Date.parse('2030-01-01T00:00:00Z');

function credentials(id: string, rest: object = {}): string {
  return JSON.stringify({
    claudeAiOauth: {
      accessToken: `sk-ant-oat01-access-${id}`,
      refreshToken: `sk-ant-ort01-refresh-${id}`,
      expiresAt,
      scopes: ['user:inference'],
      ...rest,
    },
  });
}

const blank = credentials('x', { accessToken: '', refreshToken: '', expiresAt: 0 });

async function watch(t: Test, files: Record<string, string> = {}) {
  t.teardown(() => {});
  const config = t.testdir(files);
  const path = join(config, '.credentials.json');
  const kept = join(config, '.berth', lastGoodFile);
  const states: CredentialsState['kind'][] = [];
  const log = captureLog();
  const watching = new CredentialsWatch({
    configDirectory: config,
    stateDirectory: join(config, '.berth'),
    log: log.log,
    onChange: ({ kind }) => states.push(kind),
    stable: 5,
  });
  t.teardown(() => watching.stop());
  await watching.start();
  return {
    watching,
    path,
    states,
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

t.test('blank and torn ones are told as errors and never replace the last good one', async (t) => {
  const { path, becomes, replace, lastGood, log, states } = await watch(t, {
    '.credentials.json': credentials('one'),
  });
  replace(blank);
  await becomes('blank');
  t.equal(lastGood(), credentials('one'));
  writeFileSync(path, credentials('two').slice(0, 30));
  await becomes('torn');
  writeFileSync(path, '');
  await until('it is empty', () => log.text.includes('it is empty'));
  rmSync(path);
  await becomes('missing');
  t.equal(lastGood(), credentials('one'));
  replace(credentials('two'));
  await becomes('valid');
  await until('they are kept', () => lastGood() === credentials('two'));
  t.same(states, ['valid', 'blank', 'torn', 'torn', 'missing', 'valid']);
  const errors = log.lines.filter(({ level }) => level === 'error').map(({ msg }) => msg);
  t.match(errors, [
    /has blanked its credentials: log in again/,
    /is no good: it is not valid JSON/,
    /is no good: it is empty/,
  ]);
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
  const { replace, becomes, states, log } = await watch(t, {
    '.credentials.json': credentials('one'),
  });
  replace(credentials('one'));
  replace(credentials('one'));
  replace(blank);
  await becomes('blank');
  t.same(states, ['valid', 'blank']);
  t.equal(log.count('credentials_seen'), 2);
});

t.test('other files beside it are not its business', async (t) => {
  const { path, states, becomes } = await watch(t, { '.credentials.json': credentials('one') });
  writeFileSync(join(path, '..', '.claude.json'), '{}');
  writeFileSync(`${path}.tmp.9999`, blank);
  writeFileSync(path, blank);
  await becomes('blank');
  t.same(states, ['valid', 'blank']);
});

t.test('a token is never in the log, whatever happens to it', async (t) => {
  const { path, replace, becomes, log, watching } = await watch(t, {
    '.credentials.json': credentials('one', { accessToken: 'an-access-token-of-another-shape' }),
  });
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
