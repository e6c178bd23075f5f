import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { builtInProfile } from '../../../supervisor/profiles/profile.ts';
import {
  ProfileAccounts,
  type ProfileLogins,
  profileLoginsOf,
} from '../../../supervisor/wiring/profile-accounts.ts';
import { testDirectory } from '../../support/directory.ts';

t.test('a login has changed once for each new account', (t) => {
  const state = { logins: new Map([['profile a', 'one']]) as ProfileLogins };
  const accounts = new ProfileAccounts(() => state.logins);
  t.same(accounts.changed(), []);
  state.logins = new Map([
    ['profile a', 'two'],
    ['profile b', 'one'],
  ]);
  t.same(accounts.changed(), ['profile a'], 'the other login is read for the first time');
  t.same(accounts.changed(), []);
  t.end();
});

t.test('a login that cannot be read for a time is compared with the account before', (t) => {
  const state = { logins: new Map([['profile a', 'one']]) as ProfileLogins };
  const accounts = new ProfileAccounts(() => state.logins);
  for (const logins of [new Map([['profile a', undefined]]), new Map()] as ProfileLogins[]) {
    state.logins = logins;
    t.same(accounts.changed(), []);
    state.logins = new Map([['profile a', 'one']]);
    t.same(accounts.changed(), []);
  }
  state.logins = new Map();
  t.same(accounts.changed(), []);
  state.logins = new Map([['profile a', 'two']]);
  t.same(accounts.changed(), ['profile a']);
  t.end();
});

t.test('a rotated file with a login is another account', (t) => {
  const file = join(testDirectory(t), 'token');
  writeFileSync(file, 'sk-ant-oat01-made-up-1');
  const environment = { CLAUDE_CODE_OAUTH_TOKEN: { file } };
  const profiles = [
    { ...builtInProfile(1), name: 'plain' },
    { ...builtInProfile(1), name: 'keyed', environment },
  ];
  const accounts = new ProfileAccounts(() =>
    profileLoginsOf(profiles, { ANTHROPIC_API_KEY: 'made-up' }),
  );
  t.same(accounts.changed(), []);
  rmSync(file);
  t.same(accounts.changed(), [], 'the file is away for a moment');
  writeFileSync(file, 'sk-ant-oat01-made-up-2');
  t.same(accounts.changed(), ['profile keyed']);
  t.end();
});
