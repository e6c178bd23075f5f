import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Credentials, loginId } from '../../../shared/credentials.ts';
import { writeNewLogin } from '../../../shared/credentials-memory.ts';
import { LoginHistory } from '../../../supervisor/credentials/history.ts';
import { RefreshLineage } from '../../../supervisor/credentials/refresh-lineage.ts';
import { captureLog } from '../../support/captured-log.ts';
import { login } from './login-files.ts';

const minute = 60_000;

/** A lineage with a clock of its own, and what it has recorded. */
function begin(t: Test, lastGood: Credentials[] = []) {
  const stateDirectory = t.testdir({});
  const { log, lines } = captureLog();
  const history = new LoginHistory(stateDirectory, log);
  const clock = { now: Date.now() };
  const events: string[] = [];
  const own = new Set<string>();
  let refusals = 0;
  const lineage = new RefreshLineage({
    ...{ stateDirectory, history, log, now: () => clock.now },
    file: { takeOwn: ({ digest }) => own.delete(digest) },
    lastGood: { all: async () => lastGood },
    onEvent: (event) => events.push(event),
    onRefused: () => (refusals += 1),
  });
  return {
    ...{ lineage, history, clock, events, lines, stateDirectory },
    /** As if berth itself put it into the file. */
    bring: (credentials: Credentials) => own.add(credentials.digest),
    refusals: () => refusals,
  };
}

t.test('a login that follows another has used it up', async (t) => {
  const { lineage, history, events, clock } = begin(t);
  t.equal(lineage.hasBegun, false);
  await lineage.follow(login('one'));
  t.same([events, lineage.hasBegun, lineage.refreshedAt], [[], true, undefined]);
  await lineage.follow(login('two'));
  t.same([events, lineage.refreshedAt], [['refreshed'], clock.now]);
  t.ok(history.is('superseded', loginId(login('one'))));
  t.notOk(history.is('superseded', loginId(login('two'))));
});

t.test('a refreshed login counts from the first sight of the login before it', async (t) => {
  const { lineage, history } = begin(t);
  await lineage.follow(login('one'));
  const first = history.since(loginId(login('one')));
  await lineage.follow(login('two'));
  t.equal(history.since(loginId(login('two'))), first);
});

t.test(
  'a repeated login or a login that berth wrote does not mark another login as used up',
  async (t) => {
    const { lineage, history, events, bring } = begin(t);
    await lineage.follow(login('one'));
    await lineage.follow(login('one', { expiresAt: 1 }));
    bring(login('two'));
    await lineage.follow(login('two'));
    t.same(events, []);
    t.notOk(history.is('superseded', loginId(login('one'))));
  },
);

t.test('a login made by `berth login` is adopted, and uses no other up', async (t) => {
  const { lineage, history, events, stateDirectory, lines } = begin(t);
  await lineage.follow(login('one'));
  await writeNewLogin(stateDirectory, login('two'), {});
  await lineage.follow(login('two'));
  t.same(events, ['adopted']);
  t.match(lines, [{ event: 'credentials_applied', msg: /berth login/ }]);
  t.notOk(history.is('superseded', loginId(login('one'))));
});

t.test('a note of a new login that is damaged makes it a refresh', async (t) => {
  const { lineage, events, stateDirectory } = begin(t);
  writeFileSync(join(stateDirectory, 'new-login.json'), '{"version":1,"login":"../.."}');
  await lineage.follow(login('one'));
  await lineage.follow(login('two'));
  t.same(events, ['refreshed']);
});

t.test('a login that was due when the CLI blanked its file is refused', async (t) => {
  const { lineage, history, clock, refusals } = begin(t);
  const due = login('one', { expiresAt: clock.now + 4 * minute });
  await lineage.follow(due);
  await lineage.refused();
  t.ok(history.is('refused', loginId(due)));
  await lineage.refused();
  t.equal(refusals(), 1, 'one refusal for each login');
});

t.test('a login that was refreshed just before is not: another process was refused', async (t) => {
  const { lineage, history, clock, refusals } = begin(t);
  await lineage.follow(login('one'));
  clock.now += 30_000;
  await lineage.refused();
  t.notOk(history.is('refused', loginId(login('one'))));
  t.equal(refusals(), 1);
  await lineage.follow(login('one'));
  clock.now += 61_000;
  await lineage.refused();
  t.ok(history.is('refused', loginId(login('one'))));
});

t.test('no refusal counts while a login waits to be put back', async (t) => {
  const { lineage, history, refusals, clock } = begin(t);
  await lineage.follow(login('one'));
  lineage.suspend();
  clock.now += 61_000;
  await lineage.refused();
  t.equal(refusals(), 0);
  t.notOk(history.is('refused', loginId(login('one'))));
});

t.test('a file that is blank at the start means the last good login', async (t) => {
  const { lineage, history, refusals } = begin(t, [login('one')]);
  await lineage.refused();
  t.equal(refusals(), 0, 'it was refused before');
  t.ok(history.is('refused', loginId(login('one'))));
  const none = begin(t);
  await none.lineage.refused();
  t.equal(none.refusals(), 0);
});
