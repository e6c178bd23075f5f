import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { refreshLock } from '../../../supervisor/claude/locks.ts';
import {
  describeLoss,
  LoginFile,
  LoginFileChanged,
  logState,
  RefreshUnderWay,
  snapshotOf,
} from '../../../supervisor/credentials/login-file.ts';
import { captureLog } from '../../support/captured-log.ts';
import { blank, credentials, login } from './login-files.ts';

function layOut(t: Test, content?: string) {
  const config = t.testdir({});
  const path = join(config, '.credentials.json');
  if (content !== undefined) writeFileSync(path, content);
  const file = new LoginFile(config, 20);
  return { config, path, file, read: () => readFileSync(path, 'utf8') };
}

const snapshot = (text: string): string => snapshotOf(Buffer.from(text));

t.test('a login replaces the judged file or a missing file, with mode 0600', async (t) => {
  const { file, path, read, config } = layOut(t);
  await file.replace(login('one'), snapshotOf(undefined));
  t.equal(read(), credentials('one'));
  t.equal(statSync(path).mode & 0o777, 0o600);
  await file.replace(login('two'), snapshot(credentials('one')));
  t.equal(read(), credentials('two'));
  t.notOk(existsSync(join(config, refreshLock)));
});

t.test('other data of the CLI beside the login stays', async (t) => {
  const before = JSON.stringify({ ...JSON.parse(blank), mcpOAuth: { server: { token: 'x' } } });
  const { file, read } = layOut(t, before);
  await file.replace(login('one'), snapshot(before));
  t.strictSame(JSON.parse(read()), {
    mcpOAuth: { server: { token: 'x' } },
    ...JSON.parse(credentials('one')),
  });
});

t.test('another login than the judged one is not replaced', async (t) => {
  const { file, read, path } = layOut(t, credentials('two'));
  for (const judged of [snapshot(credentials('one')), snapshotOf(undefined), undefined]) {
    t.type(await file.replace(login('three'), judged).catch((error) => error), LoginFileChanged);
  }
  t.equal(read(), credentials('two'));
  rmSync(path);
  writeFileSync(path, '');
  const gone = await file.replace(login('three'), snapshotOf(undefined)).catch((error) => error);
  t.type(gone, LoginFileChanged, 'an empty file is not the same as none');
});

t.test('in the middle of a refresh the login is not replaced', async (t) => {
  const { file, read, config } = layOut(t, credentials('one'));
  mkdirSync(join(config, refreshLock));
  const replacing = file.replace(login('two'), snapshot(credentials('one')));
  t.type(await replacing.catch((error) => error), RefreshUnderWay);
  t.equal(read(), credentials('one'));
});

t.test('a directory in the place of the file is an error that names the volume', async (t) => {
  const { file, path } = layOut(t);
  mkdirSync(path);
  await t.rejects(file.replace(login('one'), undefined), { code: 'volume_unwritable' });
  await t.rejects(file.replace(login('one'), snapshotOf(undefined)), /not a regular file|EISDIR/);
});

t.test('a login that berth has put there is known as its own, once', async (t) => {
  const { file } = layOut(t);
  t.equal(file.takeOwn(login('one')), false);
  await file.replace(login('one'), snapshotOf(undefined));
  t.equal(file.takeOwn(login('one')), true);
  t.equal(file.takeOwn(login('one')), false);
});

t.test('each state is logged with its expiry and no token', async (t) => {
  const { log, lines, text } = captureLog();
  logState(log, { kind: 'valid', credentials: login('one', { refreshTokenExpiresAt: 0 }) });
  logState(log, { kind: 'older', credentials: login('one') });
  logState(log, { kind: 'torn', reason: 'it is empty' });
  logState(log, { kind: 'blank' });
  logState(log, { kind: 'missing' });
  t.match(lines, [
    {
      level: 'info',
      state: 'valid',
      expires_at: '2030-01-01T00:00:00.000Z',
      refresh_token_id: /^[0-9a-f]{12}$/,
    },
    { level: 'error', state: 'older', msg: /refresh token is used up/ },
    { level: 'error', state: 'torn', msg: /the credentials file cannot be used: it is empty/ },
    { level: 'error', state: 'blank', msg: /log in again/ },
    { level: 'info', state: 'missing' },
  ]);
  t.notMatch(text, /oat01|ort01/);
});

t.test('a lost login is described with the cause and the remedy', async (t) => {
  t.match(
    describeLoss({ kind: 'blank' }),
    /is lost, because the login server has refused it; log in/,
  );
  t.match(describeLoss({ kind: 'missing' }), /because there is no credentials file/);
  t.match(
    describeLoss({ kind: 'torn', reason: '' }, 'ENOSPC'),
    /restored yet: ENOSPC; berth retries/,
  );
});
