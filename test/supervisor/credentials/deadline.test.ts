import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { judgeCredentials } from '../../../shared/credentials.ts';
import {
  adviceOn,
  loginDeadline,
  setupTokenDeadline,
} from '../../../supervisor/credentials/deadline.ts';
import { Login } from '../../../supervisor/credentials/login.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { until } from '../../support/until.ts';
import { credentials } from './login-files.ts';

const day = 24 * 3_600_000;
const now = Date.parse('2026-11-01T00:00:00Z');

function judged(text: string) {
  const judgement = judgeCredentials(text);
  if (judgement.kind !== 'valid') throw new Error('it is valid');
  return judgement.credentials;
}

t.test(
  'the deadline is read from the file, or estimated from the first sight of the login',
  (t) => {
    const at = now + 20 * day;
    const told = judged(credentials('one', { refreshTokenExpiresAt: at }));
    t.same(loginDeadline(told, now), { at, estimated: false, of: 'login' });
    const silent = judged(credentials('one'));
    t.same(loginDeadline(silent, now), { at: now + 27 * day, estimated: true, of: 'login' });
    t.equal(loginDeadline(silent, undefined), undefined);
    t.end();
  },
);

t.test('from a week before the deadline, the advice names the remedy', (t) => {
  const login = (days: number) => ({
    at: now + days * day,
    estimated: false,
    of: 'login' as const,
  });
  t.equal(adviceOn(login(8), now), undefined);
  t.match(adviceOn(login(3.5), now), /^the login ends in 3 days, .*log in again.* before$/);
  t.match(adviceOn(login(1), now), /ends in 1 day,/);
  t.match(adviceOn(login(0.5), now), /today or tomorrow/);
  t.match(adviceOn(login(-1), now), /^the login has ended at 2026-10-31T00:00:00.000Z; log in/);
  t.end();
});

t.test('a setup-token lasts a year from its first sight; the advice comes a month before', (t) => {
  const deadline = setupTokenDeadline(now);
  t.equal(adviceOn(deadline, now + 330 * day), undefined);
  t.match(adviceOn(deadline, now + 336 * day), /^the setup-token ends in 29 days \(an estimate\)/);
  t.end();
});

async function start(t: Test, directory: string, setupToken?: string): Promise<Login> {
  const login = new Login({
    configDirectory: directory,
    stateDirectory: join(directory, '.berth'),
    source: join(directory, 'none'),
    policy: 'fresher',
    log: captureLog().log,
    onChange: () => {},
    setupToken,
  });
  t.teardown(() => login.stop());
  await login.start();
  return login;
}

t.test('a refresh and a restart leave the estimate where it was', async (t) => {
  const directory = testDirectory(t, { '.credentials.json': credentials('one') });
  const login = await start(t, directory);
  const first = login.deadline;
  t.match(first, { estimated: true });
  await until('time has passed', () => Date.now() > (first?.at ?? 0) - 27 * day + 5);
  writeFileSync(join(directory, '.credentials.json'), credentials('two'));
  await until('it is seen', () => login.watch.refreshedAt !== undefined);
  t.same(login.deadline, first);
  await login.stop();
  t.same((await start(t, directory)).deadline, first);
});

t.test('a setup-token is known again by its hash alone', async (t) => {
  const directory = testDirectory(t, {});
  const first = (await start(t, directory, 'a-setup-token')).deadline;
  t.match(first, { of: 'setup-token', estimated: true });
  t.same((await start(t, directory, 'a-setup-token')).deadline, first);
});
