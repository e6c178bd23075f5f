import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readSettings, setting } from '../../shared/config.ts';
import { knownSettings } from '../../shared/known-settings.ts';
import { duration, flag, integer, text } from '../../shared/setting-types.ts';
import { testDirectory } from '../support/directory.ts';

const definitions = {
  timeout: setting({
    name: 'BERTH_TIMEOUT',
    schema: duration(1_000, 60_000),
    default: '30s',
    description: 'A duration.',
  }),
  token: setting({
    name: 'BERTH_GIT_TOKEN',
    aliases: ['GITHUB_PAT'],
    schema: text.regex(/^[a-z-]+$/, { error: 'lower case' }),
    optional: true,
    secret: true,
    description: 'A token.',
  }),
  count: setting({
    name: 'BERTH_UID',
    schema: integer(0, 10),
    description: 'How many.',
  }),
};

t.test('defaults are parsed in the same notation as values', async (t) => {
  const { settings } = readSettings(definitions, { BERTH_UID: '3' });
  t.strictSame(settings, { timeout: 30_000, token: undefined, count: 3 });
});

t.test('all problems are reported at once, each with the expected value', async (t) => {
  const read = () => readSettings(definitions, { BERTH_TIMEOUT: '2h' });
  t.throws(read, {
    code: 'config_invalid',
    message:
      /2 settings are wrong.*\n.*BERTH_TIMEOUT: "2h" is not valid, expected a duration from 1s to 1m.*\n.*BERTH_UID is required: How many\./,
  });
});

t.test('the value of a secret is not shown', async (t) => {
  t.throws(() => readSettings(definitions, { BERTH_UID: '1', BERTH_GIT_TOKEN: 'SECRET' }), {
    message: /BERTH_GIT_TOKEN: its value is not valid, expected lower case/,
  });
});

t.test('an alias counts after the name, and an empty value not at all', async (t) => {
  const token = (environment: Record<string, string>) =>
    readSettings(definitions, { BERTH_UID: '1', ...environment }).settings.token;
  t.equal(token({ GITHUB_PAT: 'alias' }), 'alias');
  t.equal(token({ GITHUB_PAT: 'alias', BERTH_GIT_TOKEN: 'name' }), 'name');
  t.equal(token({ GITHUB_PAT: 'alias', BERTH_GIT_TOKEN: '' }), 'alias');
  t.equal(token({ GITHUB_PAT: '' }), undefined);
});

t.test('a value can lie in a file', async (t) => {
  const directory = testDirectory(t);
  const path = join(directory, 'uid');
  writeFileSync(path, ' 7\n');
  t.equal(readSettings(definitions, { BERTH_UID_FILE: path }).settings.count, 7);
  t.throws(() => readSettings(definitions, { BERTH_UID_FILE: join(directory, 'none') }), {
    message: /BERTH_UID_FILE: cannot read .*none/,
  });
});

t.test('a misspelt name is warned about with the nearest known one', async (t) => {
  t.ok(knownSettings.includes('BERTH_TIMEOUT'), 'run npm run docs');
  const warnings = (name: string) =>
    readSettings(definitions, { BERTH_UID: '1', [name]: 'x' }).warnings;
  t.strictSame(warnings('BERTH_TIMEOT'), [
    'BERTH_TIMEOT is not a setting; did you mean BERTH_TIMEOUT?',
  ]);
  t.strictSame(warnings('BERTH_TIMEOT_FILE'), [
    'BERTH_TIMEOT_FILE is not a setting; did you mean BERTH_TIMEOUT?',
  ]);
  t.strictSame(warnings('BERTH_SOMETHING_ENTIRELY_ELSE'), [
    'BERTH_SOMETHING_ENTIRELY_ELSE is not a setting',
  ]);
});

t.test(
  'a variable that Kubernetes injects for a Service named berth causes no warning',
  async (t) => {
    const injected = {
      BERTH_PORT: 'tcp://10.0.0.1:8080',
      BERTH_PORT_8080_TCP_ADDR: '10.0.0.1',
      BERTH_SERVICE_HOST: '10.0.0.1',
      BERTH_SERVICE_PORT_HTTP: '8080',
      BERTH_METRICS_SERVICE_HOST: '10.0.0.2',
      BERTH_METRICS_PORT: 'tcp://10.0.0.2:9090',
    };
    t.strictSame(readSettings(definitions, { BERTH_UID: '1', ...injected }).warnings, []);
  },
);

t.test('settings of the other program are known', async (t) => {
  const { warnings } = readSettings(
    { flag: setting({ name: 'BERTH_X', schema: flag, default: 'true', description: '' }) },
    { BERTH_HTTP_LISTEN: ':1', BERTH_REPO: 'a/b' },
  );
  t.strictSame(warnings, []);
});
