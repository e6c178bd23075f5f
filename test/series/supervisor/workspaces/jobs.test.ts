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

/** A job whose turn has ended, and which is parked because its push fails; `file` is new in its checkout. */
async function parkedJob({ call, workshop, surroundings }: Setting, file: string) {
  const { server } = workshop.scene;
  const sessions = join(surroundings.workspace, 'sessions');
  const own = (name: string) =>
    readdirSync(sessions).find((each) => existsSync(join(sessions, each, name)));
  const wait = `echo x > ${file}; while [ ! -e .git/go ]; do sleep 0.05; done`;
  const body = { prompt: bash(wait), ...code, publish: { pull_request: {} } };
  const { id } = (await call('POST', '/v1/jobs', { body })).body;
  await until('the turn runs', () => existsSync(sessions) && own(file) !== undefined);
  const state = async (from: typeof call) => (await from('GET', `/v1/jobs/${id}`)).body;
  server.fault({ kind: 'status', status: 503, times: 1_000 });
  try {
    writeFileSync(join(sessions, own(file) ?? '', '.git/go'), '');
    await until('the job is parked', async () => (await state(call)).state === 'parked');
  } finally {
    // The next tests use the same server.
    server.fault(undefined);
  }
  return { state };
}

t.test('one supervisor after another on one volume', async (t) => {
  let berth = await openSupervised(t);
  const { workshop, surroundings } = berth;
  const { app } = workshop.scene;
  const requests = () => surroundings.api.requests;

  await t.test(
    'a job whose files have no place in its checkout fails, and leaves nothing',
    async (t) => {
      app.commit({ attachments: { symlink: '/nowhere' } });
      const attachments = [{ name: 'a.txt', text: 'x' }];
      const body = { prompt: 'x', ...code, attachments };
      const { id } = (await berth.call('POST', '/v1/jobs', { body })).body;
      const job = async () => (await berth.call('GET', `/v1/jobs/${id}`)).body;
      await until('the job has failed', async () => (await job()).state === 'failed');
      t.match((await job()).error, {
        code: 'workspace_refused',
        detail: /rename it in the repository/,
      });
      const sessions = join(surroundings.workspace, 'sessions');
      const isLeft = (name: string) => existsSync(join(sessions, name, '.git'));
      await until('its checkout is removed', () => !readdirSync(sessions).some(isLeft));
    },
  );

  await t.test(
    'after a lost disk, the session gets its checkout again, and the answer warns',
    async (t) => {
      const publish = {};
      const first = await berth.prompt(bash('echo x > new.txt'), { ...code, publish });
      const { session_id, workspace } = first.body;
      await berth.supervisor.stop();
      loseDisk(berth);
      berth = await berth.again();
      const second = await berth.prompt(bash('cat new.txt; git rev-parse HEAD'), { session_id });
      t.match(second.body.result, workspace.commit);
      t.match(second.body.workspace, { remade: true, branch: workspace.branch });
      t.match(second.body.warnings, [/was lost and was made again/]);
      t.match(JSON.stringify(requests().at(-1)?.body), 'The working directory was lost');
    },
  );

  await t.test(
    'a job whose push fails is parked, and then pushes without a second turn',
    async (t) => {
      const { state } = await parkedJob(berth, 'of-the-first-job.txt');
      t.match(await state(berth.call), { parked: { reason: 'publish_failed' }, attempts: [] });
      const asked = requests().length;
      berth = await berth.again();
      await until('the job has ended', async () => (await state(berth.call)).state === 'succeeded');
      const { result } = await state(berth.call);
      t.match(result.workspace, { pull_request_url: /pull\/1$/, problem: undefined });
      t.equal(app.head(result.workspace.branch), result.workspace.commit);
      t.equal(requests().length, asked, 'the turn did not run again');
      t.equal(workshop.pulls.opened.length, 1);
    },
  );

  await t.test('a job whose disk is lost before its push goes on in its session', async (t) => {
    const { state } = await parkedJob(berth, 'of-the-second-job.txt');
    await berth.supervisor.stop();
    loseDisk(berth);
    berth = await berth.again();
    await until('the job has ended', async () => (await state(berth.call)).state === 'succeeded');
    const { result } = await state(berth.call);
    t.match(result.workspace, { remade: true, problem: undefined });
    const asked = JSON.stringify(requests().at(-1)?.body);
    t.match(asked, 'The working directory was lost');
    t.match(asked, 'Carry on where you stopped');
  });
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
