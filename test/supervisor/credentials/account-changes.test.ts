import t from 'tap';
import { AccountChanges } from '../../../supervisor/credentials/account-changes.ts';
import { until } from '../../support/until.ts';
import { credentials, login } from './login-files.ts';
import { watchLogin } from './watched-login.ts';

t.test('a refreshed login and a file that is written again are no other account', async (t) => {
  const found: boolean[] = [];
  let changes: AccountChanges | undefined;
  const soon = { expiresAt: Date.now() + 60_000 };
  const { watch, replace } = await watchLogin(
    t,
    {},
    {
      onChange: (state) => found.push(changes?.mayBeAnother(state) ?? false),
    },
  );
  changes = new AccountChanges(watch.history);
  const shows = async (content: string): Promise<boolean> => {
    const before = found.length;
    replace(content);
    await until('the login is seen', () => watch.state.kind === 'valid' && found.length > before);
    return found.slice(before).includes(true);
  };
  t.equal(await shows(credentials('a', soon)), true, 'the first one');
  t.equal(await shows(`${credentials('a', soon)} `), false, 'with a blank');
  t.equal(await shows(credentials('b')), false, 'refreshed');
  t.equal(await shows(credentials('c')), true, 'long before the earlier one had to be refreshed');
  await watch.adopt(login('d', soon));
  await until('it is adopted', () => found.length === 6);
  t.equal(found.pop(), true, 'adopted');
});

t.test('a login after a refused one may be another account', (t) => {
  let now = Date.parse('2031-01-01');
  const changes = new AccountChanges({ since: () => 7 }, () => now);
  const valid = (id: string) =>
    changes.mayBeAnother({ kind: 'valid', credentials: login(id, { expiresAt: now }) });
  t.equal(valid('a'), true);
  now += 1;
  t.equal(valid('b'), false);
  t.equal(changes.mayBeAnother({ kind: 'torn', reason: 'x' }), false);
  t.equal(valid('c'), false);
  t.equal(changes.mayBeAnother({ kind: 'blank' }), false);
  t.equal(valid('d'), true);
  t.equal(changes.mayBeAnother({ kind: 'missing' }), false);
  t.equal(valid('d'), false, 'the same login was restored');
  t.end();
});
