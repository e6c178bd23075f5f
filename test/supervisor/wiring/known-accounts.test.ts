/** Which accounts the logins had before a restart. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loginId } from '../../../shared/credentials.ts';
import {
  accountsFile,
  accountsOf,
  KnownAccounts,
} from '../../../supervisor/wiring/known-accounts.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';

t.test('another account is found after a restart, and the same account is not', async (t) => {
  const directory = testDirectory(t);
  const { log } = captureLog();
  const start = (accounts: Record<string, string>) =>
    new KnownAccounts(directory, () => accounts, log);
  t.equal(await start({ default: 'a' }).haveChanged(), false, 'nothing is known at first');
  await start({ default: 'a' }).save();
  t.equal(await start({ default: 'a' }).haveChanged(), false);
  const unread = start({});
  t.equal(await unread.haveChanged(), false, 'the login cannot be read now');
  await unread.save();
  t.equal(await start({ default: 'a' }).haveChanged(), false);
  t.equal(await start({ default: 'b' }).haveChanged(), true);
  t.equal(await start({ default: 'a', 'profile review': 'c' }).haveChanged(), true);
  await start({ default: 'b' }).save();
  t.equal(await start({ default: 'b' }).haveChanged(), false);
  writeFileSync(join(directory, accountsFile), '{');
  t.equal(await start({ default: 'a' }).haveChanged(), false, 'the file cannot be read');
});

t.test('accounts that cannot be saved are logged', async (t) => {
  const file = join(testDirectory(t), 'file');
  writeFileSync(file, '');
  const { log, count } = captureLog();
  await new KnownAccounts(join(file, 'state'), () => ({}), log).save();
  t.equal(count('accounts_unsaved'), 1);
});

t.test(
  'an account is known by its variables, or by its first sight in the login file',
  async (t) => {
    const directory = testDirectory(t);
    const { log } = captureLog();
    const since = new Map<string, number>();
    const history = { since: (id: string) => since.get(id) };
    const none = { state: { kind: 'missing' as const }, watch: { history } };
    const secret = 'sk-ant-made-up-1';
    const one = accountsOf([], { ANTHROPIC_API_KEY: secret }, none);
    const two = accountsOf([], { ANTHROPIC_API_KEY: 'sk-ant-made-up-2' }, none);
    t.not(one.default, two.default);
    await new KnownAccounts(directory, () => one, log).save();
    t.notMatch(readFileSync(join(directory, accountsFile), 'utf8'), secret);
    t.strictSame(accountsOf([], {}, none), {});
    const credentials = { refreshTokenId: 'made-up' } as Parameters<typeof loginId>[0];
    const valid = { state: { kind: 'valid', credentials }, watch: { history } } as Parameters<
      typeof accountsOf
    >[2];
    t.strictSame(accountsOf([], {}, valid), {}, 'the login was not seen yet');
    since.set(loginId(credentials), 7);
    t.strictSame(accountsOf([], {}, valid), { default: 'since 7' });
  },
);
