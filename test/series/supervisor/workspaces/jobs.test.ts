/** What survives a lost disk, a lost worker and a failed push, by the API, with the scripted CLI and a real git. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  bash,
  code,
  openSupervised,
  type Setting,
} from '../../../supervisor/workspaces/supervised.ts';
import { scriptedClaude } from '../../../support/claude.ts';
import { until } from '../../../support/until.ts';

t.test(
  'after a lost disk, the session gets its checkout again, and the answer warns',
  async (t) => {
    const one = await openSupervised(t);
    const publish = {};
    const first = await one.prompt(bash('echo x > new.txt'), { ...code, publish });
    const { session_id, workspace } = first.body;
    await one.supervisor.stop();
    loseDisk(one);
    const two = await one.again();
    const second = await two.prompt(bash('cat new.txt; git rev-parse HEAD'), { session_id });
    t.match(second.body.result, workspace.commit);
    t.match(second.body.workspace, { remade: true, branch: workspace.branch });
    t.match(second.body.warnings, [/was lost and was made again/]);
    const asked = JSON.stringify(two.surroundings.api.requests.at(-1)?.body);
    t.match(asked, 'The working directory was lost');
  },
);

/** A job whose turn has ended, and which is parked because its push fails. */
async function parkedJob({ call, workshop, surroundings }: Setting) {
  const { server } = workshop.scene;
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
  server.fault(undefined);
  return { state };
}

t.test('a job whose push fails is parked, and then pushes without a second turn', async (t) => {
  const one = await openSupervised(t);
  const { workshop, surroundings } = one;
  const { app } = workshop.scene;
  const { state } = await parkedJob(one);
  t.match(await state(one.call), { parked: { reason: 'publish_failed' }, attempts: [] });
  const asked = surroundings.api.requests.length;
  const two = await one.again();
  await until('the job has ended', async () => (await state(two.call)).state === 'succeeded');
  const { result } = await state(two.call);
  t.match(result.workspace, { pull_request_url: /pull\/1$/, problem: undefined });
  t.equal(app.head(result.workspace.branch), result.workspace.commit);
  t.equal(surroundings.api.requests.length, asked, 'the turn did not run again');
  t.equal(workshop.pulls.opened.length, 1);
});

t.test('a job whose disk is lost before its push goes on in its session', async (t) => {
  const one = await openSupervised(t);
  const { state } = await parkedJob(one);
  await one.supervisor.stop();
  loseDisk(one);
  const two = await one.again();
  await until('the job has ended', async () => (await state(two.call)).state === 'succeeded');
  const { result } = await state(two.call);
  t.match(result.workspace, { remade: true, problem: undefined });
  const asked = JSON.stringify(two.surroundings.api.requests.at(-1)?.body);
  t.match(asked, 'The working directory was lost');
  t.match(asked, 'Carry on where you stopped');
});

t.test('a job whose files have no place in its checkout fails, and leaves nothing', async (t) => {
  const { call, workshop, surroundings } = await openSupervised(t);
  workshop.scene.app.commit({ attachments: { symlink: '/nowhere' } });
  const attachments = [{ name: 'a.txt', text: 'x' }];
  const body = { prompt: 'x', ...code, attachments };
  const { id } = (await call('POST', '/v1/jobs', { body })).body;
  const job = async () => (await call('GET', `/v1/jobs/${id}`)).body;
  await until('the job has failed', async () => (await job()).state === 'failed');
  t.match((await job()).error, {
    code: 'workspace_refused',
    detail: /rename it in the repository/,
  });
  const sessions = join(surroundings.workspace, 'sessions');
  const isLeft = (name: string) => existsSync(join(sessions, name, '.git'));
  await until('its checkout is removed', () => !readdirSync(sessions).some(isLeft));
});

/** A git that waits when it is to fill the first checkout, until there is a file `go`. */
function slowGit(directory: string): string {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  const script = `#!/bin/sh
case " $* " in *" read-tree "*)
  if mkdir '${bin}/asked' 2>/dev/null; then until [ -e '${bin}/go' ]; do sleep 0.05; done; fi
esac
PATH=\${PATH#*:}
exec git "$@"
`;
  writeFileSync(join(bin, 'git'), script, { mode: 0o755 });
  return `${bin}:${process.env.PATH}`;
}

t.test('a prompt whose worker is killed during the checkout gets another worker', async (t) => {
  const one = await openSupervised(t, (directory) => ({ PATH: slowGit(directory) }));
  const { call, workshop, surroundings, log } = one;
  const bin = join(workshop.scene.directory, 'bin');
  const answered = one.prompt(bash('cat README.md'), code);
  await until('git fills the directory', () => existsSync(join(bin, 'asked')));
  const sessions = join(surroundings.workspace, 'sessions');
  const lost = readdirSync(sessions).find((name) => existsSync(join(sessions, name, '.git'))) ?? '';
  const { workers } = (await call('GET', '/v1/status')).body;
  const { pid } = workers.find(({ state }: { state: string }) => state === 'busy');
  process.kill(pid, 'SIGKILL');
  await until('the directory is removed', () => !existsSync(join(sessions, lost)));
  writeFileSync(join(bin, 'go'), '');
  const { status, body } = await answered;
  t.equal(status, 200, JSON.stringify(body));
  t.match(body.result, '# one');
  t.notOk(existsSync(join(sessions, lost)));
  for (const event of ['workspace_failed', 'mirror_removed']) t.equal(log.count(event), 0, event);
});

/** A CLI whose first process that gets a prompt is killed before it writes the prompt into its transcript. */
function killedOnce(directory: string): string {
  const path = join(directory, 'killed-once');
  const mark = JSON.stringify(`${path}.mark`);
  const preload = `const fs = require('node:fs');
const { appendFileSync } = fs;
fs.appendFileSync = (...written) => {
  if (fs.existsSync(${mark})) return appendFileSync(...written);
  fs.writeFileSync(${mark}, '');
  process.kill(process.pid, 'SIGKILL');
};
`;
  writeFileSync(`${path}.cjs`, preload);
  const script = `#!/bin/sh
export NODE_OPTIONS='--require "${path}.cjs"'
exec '${scriptedClaude}' "$@"
`;
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}

t.test('a prompt that is sent again after a loss has the note about its checkout', async (t) => {
  const settings = (directory: string) => ({ BERTH_CLAUDE_PATH: killedOnce(directory) });
  const { prompt, surroundings } = await openSupervised(t, settings);
  const { status, body } = await prompt('[[say done]]', code);
  t.match({ status, body }, { status: 200, body: { result: 'done', recycled: 1 } });
  const asked = JSON.stringify(surroundings.api.requests.at(-1)?.body);
  t.match(asked, 'The working directory is a checkout of me/app');
});

/** As when an emptyDir goes with its pod. */
function loseDisk({ surroundings: { workspace } }: Setting): void {
  for (const name of readdirSync(workspace)) rmSync(join(workspace, name), { recursive: true });
}
