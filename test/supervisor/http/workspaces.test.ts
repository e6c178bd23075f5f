/** Prompts with a checkout, by the API, with the scripted CLI and a real git. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bash, code, openSupervised } from '../workspaces/supervised.ts';

t.test(
  'a prompt works in a checkout, on a warm worker, and its commits become a pull request',
  async (t) => {
    const { prompt, log, workshop, surroundings, call } = await openSupervised(t);
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

t.test('a workspace that the profile does not allow is refused before a worker runs', async (t) => {
  const { prompt } = await openSupervised(t);
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
  const { prompt } = await openSupervised(t);
  const first = await prompt(bash('echo x > new; git add new; git commit -qm x'), {
    profile: 'narrow',
  });
  t.match(first.body.workspace, { repo: 'me/app', branch: null });
  const { session_id } = first.body;
  const other = await prompt('[[say x]]', { session_id, workspace: { repo: 'me/other' } });
  t.match(other.body, { code: 'invalid_request', detail: /checkout of me\/app/ });
});
