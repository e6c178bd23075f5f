/** A profile's login from a mounted Secret that is rotated while its prompts run, with the real CLI. */
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeSurroundings } from '../../../support/claude.ts';
import { startSupervisor, startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';
import { inSeconds, limitHeaders } from '../../../support/usage-limit.ts';

/** As the kubelet mounts a Secret: a link through `..data`, which is swapped by a rename. */
function mount(directory: string, revision: number, key: string): void {
  const folder = `..revision_${revision}`;
  mkdirSync(join(directory, folder), { recursive: true });
  writeFileSync(join(directory, folder, 'key'), `${key}\n`);
  symlinkSync(folder, join(directory, '..data_tmp'));
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  if (revision === 1) symlinkSync(join('..data', 'key'), join(directory, 'key'));
}

t.test(
  'a rotated key renews idle processes; a turn that runs goes on with the old one',
  async (t) => {
    const surroundings = await makeSurroundings(t);
    const { api, workspace } = surroundings;
    const directory = join(workspace, '..', 'secret');
    mount(directory, 1, 'the-first-key-of-all');
    const path = join(directory, 'profiles.yaml');
    writeFileSync(
      path,
      `profiles: {keyed: {warm: 1, environment: {ANTHROPIC_API_KEY: {file: ${directory}/key}}}}\ndefault: keyed`,
    );
    const keys: unknown[] = [];
    api.reply(({ headers }) => {
      keys.push(headers['x-api-key']);
      return undefined;
    });
    const { prompt, call, log } = await startSupervisor(t, {
      surroundings,
      settings: { BERTH_PROFILES_FILE: path },
    });
    const pids = async (): Promise<number[]> => {
      const { body } = await call('GET', '/v1/status');
      return body.workers.map(({ pid }: { pid: number }) => pid);
    };
    const first = await prompt('[[say one]]');
    const before = await pids();
    const running = prompt('[[slow 1500]] [[say two]]', { session_id: first.body.session_id });
    await until('it runs', () => keys.length >= 2);
    mount(directory, 2, 'the-second-key-of-all');
    await log.logged('secrets_changed');
    t.match((await running).body, { result: 'two' });
    t.ok(keys.every((key) => key === 'the-first-key-of-all'));
    const next = await prompt('[[say three]]', { session_id: first.body.session_id });
    t.match(next.body, { result: 'three', session_id: first.body.session_id });
    t.equal(keys.at(-1), 'the-second-key-of-all');
    await until('none of the old ones is left', async () => {
      const now = await pids();
      return now.length > 0 && before.every((pid) => !now.includes(pid));
    });
    t.notMatch(log.text, /the-(first|second)-key/);
  },
);

t.test('a rotated token of another account ends the limits of the account before', async (t) => {
  const surroundings = await makeSurroundings(t);
  const { api, workspace } = surroundings;
  const directory = join(workspace, '..', 'secret');
  mount(directory, 1, 'sk-ant-oat01-made-up-1');
  const path = join(directory, 'profiles.yaml');
  const environment = `{CLAUDE_CODE_OAUTH_TOKEN: {file: ${directory}/key}}`;
  writeFileSync(path, `profiles: {keyed: {environment: ${environment}}}\ndefault: keyed`);
  const headers = JSON.parse(limitHeaders('rejected', inSeconds(7 * 86_400), 'seven_day', '1.0'));
  api.reply((request) =>
    String(request.headers.authorization).endsWith('made-up-1')
      ? { status: 429, headers }
      : undefined,
  );
  const { call } = await startWithRealCli(t, {
    surroundings,
    settings: { BERTH_PROFILES_FILE: path },
    environment: { ANTHROPIC_API_KEY: undefined, CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-made-up' },
  });
  const body = { prompt: '[[say after all]]' };
  const { body: job } = await call('POST', '/v1/jobs', { body });
  await until('the job is parked', async () => {
    const { body } = await call('GET', `/v1/jobs/${job.id}`);
    return body.state === 'parked';
  });
  const limits = async () => (await call('GET', '/v1/status')).body.limits;
  t.match(await limits(), [{ login: 'profile keyed', closed: true, reason: 'usage_limit' }]);
  mount(directory, 2, 'sk-ant-oat01-made-up-2');
  await until('the gate opens', async () => (await limits())[0].closed === false);
  t.match((await call('GET', `/v1/jobs/${job.id}?wait=60s`)).body, { state: 'succeeded' });
});
