import t from 'tap';
import { accountOf } from '../../../supervisor/profiles/login.ts';
import type { Profile } from '../../../supervisor/profiles/profile.ts';

const profileWith = (environment: Profile['environment']) =>
  ({ name: 'review', environment }) as Profile;

t.test('replicas compare accounts by their login variables, without the secrets', async (t) => {
  const one = { CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-one', PATH: '/bin' };
  const account = accountOf('default', [], one);
  t.match(account, /^[0-9a-f]{16}$/);
  t.equal(accountOf('default', [], { ...one, PATH: '/usr/bin' }), account);
  const other = { CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-other' };
  t.not(accountOf('default', [], other), account);
  t.equal(accountOf('default', [], {}), undefined, 'a login file belongs to one replica');

  const profiles = [profileWith(other)];
  t.equal(accountOf('profile review', profiles, one), accountOf('default', [], other));
  t.equal(accountOf('profile unknown', profiles, one), undefined);
  const unreadable = [profileWith({ CLAUDE_CODE_OAUTH_TOKEN: { file: '/none/token' } })];
  t.equal(accountOf('profile review', unreadable, one), undefined);
});
