/** What counts for `limits.prompts_per_hour`, by the API with the scripted CLI. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startSupervisor } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';
import { inSeconds, limitHeaders } from '../../support/usage-limit.ts';

const profile = 'busy';

interface BusyOptions {
  settings?: Record<string, string>;
  /** In the configuration directory. */
  files?: Record<string, string>;
  environment?: Record<string, string | undefined>;
}

/** The profiles `busy` and `short` start two prompts an hour. */
function startBusy(t: Test, { files = {}, settings = {}, environment = {} }: BusyOptions = {}) {
  return startSupervisor(t, {
    config: {
      'profiles.yaml': `profiles:
  default: {}
  busy: {limits: {prompts_per_hour: 2}}
  short: {limits: {prompts_per_hour: 2, timeout: 5s}}
`,
      ...files,
    },
    settings: {
      BERTH_PROFILES_FILE: join(t.testdirName, 'config', 'profiles.yaml'),
      ...settings,
    },
    environment,
  });
}

t.test('prompts and jobs that a limit of the account refuses do not count', async (t) => {
  const { prompt, call } = await startBusy(t, {
    environment: {
      ANTHROPIC_API_KEY: undefined,
      CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-of-the-tests',
    },
  });
  const limit = limitHeaders('rejected', inSeconds(3_600), 'five_hour', '1.0');
  t.match(await prompt(`[[status 429 ${limit}]]`), { body: { code: 'usage_limit' } });
  const tooShort = { profile: 'short', on_limit: 'wait' };
  for (const fields of [{ profile }, tooShort]) {
    for (let count = 0; count < 3; count++) {
      t.match(await prompt('[[say no]]', fields), { body: { code: 'usage_limit' } });
    }
  }
  const body = { prompt: '[[say no]]', profile };
  const { id } = (await call('POST', '/v1/jobs', { body })).body;
  const parked = await until('the job is parked', async () => {
    const { body } = await call('GET', `/v1/jobs/${id}`);
    return body.state === 'parked' && body.parked;
  });
  t.match(parked, { reason: 'usage_limit' });
});

t.test('a prompt that was answered counts', async (t) => {
  const { prompt } = await startBusy(t);
  for (let count = 0; count < 2; count++) {
    t.match(await prompt('[[say yes]]', { profile }), { body: { result: 'yes' } });
  }
  t.match(await prompt('[[say no]]', { profile }), { body: { code: 'prompts_exceeded' } });
});

t.test('prompts for which the queue is full do not count', async (t) => {
  const { prompt, stream } = await startBusy(t, {
    settings: { BERTH_MAX_WORKERS: '1', BERTH_QUEUE_LIMIT: '0' },
  });
  const long = stream('[[hang stream]]');
  await until('the turn runs', async () => (await long.next()).value?.event === 'session');
  for (let count = 0; count < 3; count++) {
    t.match(await prompt('[[say no]]', { profile }), { body: { code: 'queue_full' } });
  }
});

t.test('prompts that ignored settings refuse do not count', async (t) => {
  const { prompt } = await startBusy(t, {
    files: { 'settings.json': '{"permissions": {"deny": ["Ba' },
  });
  for (let count = 0; count < 3; count++) {
    t.match(await prompt('[[say no]]', { profile }), { body: { code: 'configuration_invalid' } });
  }
});
