import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { chooseModel, modelsOf } from '../../../supervisor/conversations/model-names.ts';
import { readProfiles } from '../../../supervisor/profiles/read.ts';

const bounds = { warmWorkers: 0, maxWorkers: 4, workingDirectory: 'shared' as const };
const read = (text: string) => readProfiles(text, 'profiles.yaml', bounds);
const { profiles } = read(`
default: review
profiles:
  review: {model: opus, aliases: [gpt-4o, some-model]}
  private: {tokens: [owner], aliases: [secret-model]}
`);
const source = {
  all: () => [...profiles.values()],
  forToken: (token: string, requested = 'review') => {
    const profile = profiles.get(requested);
    if (profile && (profile.tokens?.includes(token) ?? true)) return profile;
    throw new BerthError('profile_not_found', 'cannot use the profile: a test; name another');
  },
};
const chosen = (name: string, token = 'n8n') => {
  const { profile, model } = chooseModel(name, token, source);
  return `${profile.name} ${model ?? ''}`.trim();
};

t.test('a name selects a profile, an alias of a profile, or a model of the default', (t) => {
  t.equal(chosen('berth'), 'review');
  t.equal(chosen('berth/review'), 'review');
  t.equal(chosen('gpt-4o'), 'review');
  t.equal(chosen('sonnet'), 'review sonnet');
  t.equal(chosen('claude-haiku-5-5'), 'review claude-haiku-5-5');
  t.equal(chosen('opus'), 'review', 'the model of the profile is no override');
  t.equal(chosen('secret-model', 'owner'), 'private');
  t.end();
});

t.test('a name that the token may not use is not found, and is not listed', (t) => {
  for (const name of ['secret-model', 'gpt-5', '', 'claude-', 'berth/../x', '__proto__']) {
    t.throws(() => chosen(name), BerthError, name);
  }
  t.throws(() => chosen('berth/private'), { code: 'profile_not_found' });
  const names = modelsOf('n8n', source).map(({ id }) => id);
  t.strictSame(names, ['berth', 'berth/review', 'gpt-4o', 'some-model']);
  t.equal(modelsOf('owner', source).length, 6);
  t.end();
});

t.test('two profiles cannot have one alias', (t) => {
  t.throws(() => read('profiles: {a: {aliases: [x]}, b: {aliases: [x]}}'), {
    code: 'config_invalid',
    message: /profiles\.b\.aliases\[0\], line 1: profiles\.a has this alias already/,
  });
  t.end();
});
