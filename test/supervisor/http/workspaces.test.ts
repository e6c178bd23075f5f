/** Prompts and jobs with a checkout, by the API, with the scripted CLI and a real git. */
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { bashAllowed, surroundingsIn } from '../../support/claude.ts';
import { startMessagesApi } from '../../support/messages-api.ts';
import { type RunningSupervisor, startSupervisor } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';
import { openWorkshop, type Workshop } from '../workspaces/fixture.ts';

const bash = (command: string): string => `[[tool Bash ${JSON.stringify({ command })}]]`;

interface Setting extends RunningSupervisor {
  workshop: Workshop;
  /** The next one on the same folders; this one stops. */
  again: () => Promise<Setting>;
}

async function open(t: Test, settings: Record<string, string> = {}): Promise<Setting> {
  const workshop = await openWorkshop(t);
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  // A test has one directory.
  const first = surroundingsIn(join(workshop.scene.directory, 'berth'), api);
  writeFileSync(join(first.config, 'settings.json'), bashAllowed);
  const file = join(workshop.scene.directory, 'profiles.yaml');
  const rules = '{repos: [me/app], publish: true, author: {name: A, email: a@example.test}}';
  writeFileSync(
    file,
    `profiles:
  default: {working_directory: session}
  code: {warm: 1, workspaces: ${rules}}
  narrow: {workspaces: {repos: ["me/*"], default: {repo: me/app}}}
`,
  );
  const own = {
    BERTH_PROFILES_FILE: file,
    BERTH_GATEWAY_URL: workshop.scene.gateway.url,
    ...settings,
  };
  const started = await startSupervisor(t, { settings: own, surroundings: first });
  const withAgain = (one: RunningSupervisor): Setting => ({
    ...one,
    get url() {
      return one.url;
    },
    workshop,
    again: async () => {
      await one.supervisor.stop();
      const { surroundings } = one;
      return withAgain(await startSupervisor(t, { settings: own, surroundings }));
    },
  });
  return withAgain(started);
}

const code = { profile: 'code', workspace: { repo: 'me/app' } };

t.test(
  'a prompt works in a checkout, on a warm worker, and its commits become a pull request',
  async (t) => {
    const { prompt, log, workshop, surroundings, call } = await open(t);
    await log.logged('worker_ready');
    const first = await prompt(bash('ls; echo more >> README.md'), {
      ...code,
      publish: { pull_request: { title: 'More' } },
    });
    t.equal(first.status, 200, JSON.stringify(first.body));
    t.match(first.body.result, /README.md/);
    const { session_id, workspace } = first.body;
    t.match(workspace, {
      repo: 'me/app',
      branch: `berth/${session_id.slice(0, 13)}`,
      diff_stat: { files: 1, insertions: 1, deletions: 0 },
      remade: false,
    });
    t.equal(workshop.scene.app.head(workspace.branch), workspace.commit);
    const asked = JSON.stringify(surroundings.api.requests.at(-1)?.body);
    t.match(asked, 'The working directory is a checkout of me/app');
    const starts = log.lines.filter(({ event }) => event === 'worker_starting').length;
    t.ok(starts <= 2, 'the spare has served the prompt');
    const second = await prompt(bash('git log --oneline | wc -l'), { session_id, profile: 'code' });
    t.match(second.body, { result: /2/, workspace: { branch: workspace.branch, remade: false } });
    const listed = await call('GET', `/v1/sessions/${session_id}`);
    t.match(listed.body.workspace, { repo: 'me/app', commit: workspace.commit });
    t.equal((await call('DELETE', `/v1/sessions/${session_id}`)).status, 204);
    const own = join(surroundings.workspace, 'sessions');
    t.ok(readdirSync(own).length <= 1, 'only the directory of a spare is left');
  },
);

t.test('what the profile does not allow is refused before anything runs', async (t) => {
  const { prompt } = await open(t);
  for (const [fields, status, wrong] of [
    [{ workspace: { repo: 'me/app' } }, 403, 'workspace_refused'],
    [{ profile: 'code', workspace: { repo: 'me/App' } }, 403, 'workspace_refused'],
    [{ profile: 'narrow', publish: {} }, 403, 'workspace_refused'],
    [{ profile: 'code', publish: {} }, 400, 'invalid_request'],
    [{ profile: 'code', workspace: { repo: '../app' } }, 400, 'invalid_request'],
    [{ profile: 'code', workspace: { repo: 'me/app', path: '../x' } }, 400, 'invalid_request'],
    [{ profile: 'code', workspace: { repo: 'me/app', ref: '--exec=x' } }, 400, 'invalid_request'],
    [
      { profile: 'code', workspace: { repo: 'me/app', ref: 'x', pull_request: 1 } },
      400,
      'invalid_request',
    ],
    [{ profile: 'code', workspace: { repo: 'me/app', ref: 'absent' } }, 404, 'workspace_not_found'],
  ] as const) {
    const { status: given, body } = await prompt('[[say x]]', fields);
    t.match({ given, ...body }, { given: status, code: wrong }, JSON.stringify(fields));
  }
});

t.test('a profile can have a default, and a session keeps its checkout', async (t) => {
  const { prompt } = await open(t);
  const first = await prompt(bash('echo x > new; git add new; git commit -qm x'), {
    profile: 'narrow',
  });
  t.match(first.body.workspace, { repo: 'me/app', branch: null });
  const { session_id } = first.body;
  const other = await prompt('[[say x]]', { session_id, workspace: { repo: 'me/other' } });
  t.match(other.body, { code: 'invalid_request', detail: /checkout of me\/app/ });
});

t.test('a lost disk gives a session its checkout again, and the answer tells so', async (t) => {
  const one = await open(t);
  const publish = {};
  const first = await one.prompt(bash('echo x > new.txt'), { ...code, publish });
  const { session_id, workspace } = first.body;
  await one.supervisor.stop();
  for (const name of readdirSync(one.surroundings.workspace)) {
    rmSync(join(one.surroundings.workspace, name), { recursive: true });
  }
  const two = await one.again();
  const second = await two.prompt(bash('cat new.txt; git rev-parse HEAD'), { session_id });
  t.match(second.body.result, workspace.commit);
  t.match(second.body.workspace, { remade: true, branch: workspace.branch });
  t.match(second.body.warnings, [/was lost and was made again/]);
  const asked = JSON.stringify(two.surroundings.api.requests.at(-1)?.body);
  t.match(asked, 'The working directory was lost');
});

t.test('a job whose push fails is parked, and then pushes without a second turn', async (t) => {
  const { call, workshop, surroundings, again } = await open(t);
  const { server, app } = workshop.scene;
  const sessions = join(surroundings.workspace, 'sessions');
  const own = (name: string) =>
    readdirSync(sessions).find((each) => existsSync(join(sessions, each, name)));
  const wait = 'echo x > new.txt; while [ ! -e .git/go ]; do sleep 0.05; done';
  const body = { prompt: bash(wait), ...code, publish: { pull_request: {} } };
  const { id } = (await call('POST', '/v1/jobs', { body })).body;
  await until('the turn runs', () => existsSync(sessions) && own('new.txt') !== undefined);
  server.fault({ kind: 'status', status: 503, times: 1_000 });
  writeFileSync(join(sessions, own('new.txt') ?? '', '.git/go'), '');
  const state = async (from: typeof call) => (await from('GET', `/v1/jobs/${id}`)).body;
  await until('the job is parked', async () => (await state(call)).state === 'parked');
  t.match(await state(call), { parked: { reason: 'publish_failed' }, attempts: [] });
  const asked = surroundings.api.requests.length;
  server.fault(undefined);
  const two = await again();
  await until('the job has ended', async () => (await state(two.call)).state === 'succeeded');
  const { result } = await state(two.call);
  t.match(result.workspace, { pull_request_url: /pull\/1$/, problem: undefined });
  t.equal(app.head(result.workspace.branch), result.workspace.commit);
  t.equal(surroundings.api.requests.length, asked, 'the turn did not run again');
  t.equal(workshop.pulls.opened.length, 1);
});
