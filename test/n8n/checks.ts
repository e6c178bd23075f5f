/** What each workflow must have done, by the item of its last node and by what berth and the stand-ins have seen. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import type { MessagesApi } from '../support/messages-api.ts';
import { gitEnvironment } from '../support/repository.ts';
import { agentQuestion } from './community-node.ts';
import { diff, issue, picture, source } from './github.ts';
import type { Item } from './n8n.ts';
import type { Scene } from './scene.ts';

type Check = (item: Item, scene: Scene) => void;

/** What each workflow must have done. */
export const checks: Record<string, Check> = {
  'structured-output': (item) =>
    assert.deepEqual(item, { mood: 'good', complaint: false, summary: 'Stand-in' }),
  'maintenance-report': (item) =>
    assert.deepEqual(item, { needs_a_person: false, headline: 'Stand-in', report: 'Stand-in' }),
  'code-review': (_item, { github, api }) => {
    assert.deepEqual(github.comments.splice(0), ['**approve**\n\nStand-in']);
    assertSent(api, diff);
  },
  'pull-request-review': (_item, { github, api, repositories }) => {
    assert.deepEqual(github.comments.splice(0), ['**approve**\n\nStand-in']);
    // The result of `git diff berth/base`.
    assertSent(api, '-export const on = false;\n+export const on = "perhaps";');
    // The review itself opens none.
    const others = repositories.pulls.opened.filter(({ head }) => head !== 'feature');
    assert.ok(others.every(({ title }) => title.startsWith('Fix: ')));
  },
  'issue-fix': (_item, { github, api, repositories: { pulls }, repository }) => {
    assertSent(api, issue.body);
    const [proposal, ...others] = pulls.opened.filter(({ head }) => head !== 'feature');
    assert.ok(proposal && others.length === 0);
    assert.match(proposal.title, /^Fix: The lamp is off/);
    assert.equal(proposal.base, 'main');
    const number = pulls.opened.indexOf(proposal) + 1;
    assert.deepEqual(github.comments.splice(0), [
      `Proposed in https://github.com/your-name/your-repository/pull/${number}`,
    ]);
    assert.equal(
      runGit(repository.path, 'show', `${proposal.head}:lamp.ts`),
      'export const on = true;\n',
    );
    assert.equal(commitsOf(repository.path, proposal.head), 1);
  },
  'nightly-maintenance-with-approval': (_item, { chat, repository, berth }) => {
    assert.deepEqual(chat.failures, []);
    assert.equal(chat.pages.length, 1);
    const [page] = chat.pages;
    assert.match(page?.before ?? '', /git push origin HEAD:berth\/maintenance/);
    assert.match(page?.after ?? '', /This call was allowed/);
    const [question, report, ...others] = chat.messages;
    assert.match(question ?? '', /^repository-maintenance wants to use Bash:\n.*git push/s);
    assert.equal(report, 'Maintenance: succeeded\nThe dependencies are up to date.');
    assert.deepEqual(others, []);
    assert.equal(commitsOf(repository.path, 'berth/maintenance'), 1);
    const decided = berth.lines.filter(({ action }) => action === 'approval_allow');
    assert.equal(decided.length, 1);
  },
  documentation: (_item, { github, api }) => {
    assert.equal(github.issues.length, 1);
    assert.equal(github.issues[0]?.title, 'Documentation of src/index.ts');
    assert.match(github.issues[0]?.body ?? '', /^\[stand-in\] You said: Write the documentation/);
    assertSent(api, source);
  },
  'node-agent': ({ output }, { api, chatModel }) => {
    assertSent(api, agentQuestion);
    assert.match(String(output), /The tool answered: .*\[stand-in\] You said: Which lamp is on\?/);
    assert.equal(chatModel.requests.length, 2);
  },
  'node-attachments': ({ is_error }, { api }) => {
    assert.equal(is_error, false);
    assertSent(api, picture.toString('base64'));
    assertSent(api, 'attachments/sales.csv');
  },
  'node-ask': (item) => assert.equal(item.turns, 2),
  'node-error': ({ error, description, code }) => {
    assert.match(String(error), /^cannot/);
    assert.match(String(description), /^Remedy/);
    assert.equal(code, 'session_not_found');
  },
  'mcp-client': (item) => assert.match(JSON.stringify(item), /You said: Write a haiku/),
  'job-poll': assertHaiku,
  'job-wait': (item, { berth }) => {
    assertHaiku(item);
    // A workflow that waits ends after its callback.
    assert.ok(berth.lines.some(({ event }) => event === 'callback_delivered'));
  },
  'node-schedule': ({ state, not_before }) => {
    assert.equal(state, 'scheduled');
    const days = (Date.parse(String(not_before)) - Date.now()) / 86_400_000;
    // The clocks may change by an hour meanwhile; the zone of n8n is some hours from UTC.
    assert.ok(Math.abs(days - 30) < 0.1, `${not_before} is not 30 days away`);
  },
  'node-wait': assertHaiku,
  'node-wait-limit': ({ state, job }) => {
    assert.equal(state, 'scheduled');
    assert.match(String(job), /^job_/);
  },
};

/** The number of commits of a branch above `main`. */
function commitsOf(repository: string, branch: string): number {
  return Number(runGit(repository, 'rev-list', '--count', `main..${branch}`));
}

function runGit(repository: string, ...args: string[]): string {
  const env = { ...gitEnvironment(), GIT_DIR: repository };
  return execFileSync('git', args, { env, encoding: 'utf8' });
}

function assertHaiku({ state, answer }: Item): void {
  assert.equal(state, 'succeeded');
  assert.match(String(answer), /^\[stand-in\] You said: Write a haiku/);
}

function assertSent({ requests }: MessagesApi, text: string): void {
  const asked = JSON.stringify(requests.map(({ body }) => body));
  assert.ok(asked.includes(JSON.stringify(text).slice(1, -1)));
}
