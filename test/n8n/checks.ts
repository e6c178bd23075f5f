/** What each workflow must have done, by the item of its last node and by what berth and the stand-ins have seen. */
import assert from 'node:assert/strict';
import type { MessagesApi } from '../support/messages-api.ts';
import type { Program } from '../support/programs.ts';
import { type CommentedGitHub, diff, source } from './github.ts';

export interface Seen {
  api: MessagesApi;
  github: CommentedGitHub;
  berth: Program;
}

/** What each workflow must have done. */
export const checks: Record<string, (item: Record<string, unknown>, seen: Seen) => void> = {
  'structured-output': (item) =>
    assert.deepEqual(item, { mood: 'good', complaint: false, summary: 'Stand-in' }),
  'maintenance-report': (item) =>
    assert.deepEqual(item, { needs_a_person: false, headline: 'Stand-in', report: 'Stand-in' }),
  'code-review': (_item, { github, api }) => {
    assert.deepEqual(github.comments, ['**approve**\n\nStand-in']);
    assertSent(api, diff);
  },
  documentation: (_item, { github, api }) => {
    assert.equal(github.issues.length, 1);
    assert.equal(github.issues[0]?.title, 'Documentation of src/index.ts');
    assert.match(github.issues[0]?.body ?? '', /^\[stand-in\] You said: Write the documentation/);
    assertSent(api, source);
  },
  'node-ask': (item) => assert.equal(item.turns, 2),
  'mcp-client': (item) => assert.match(JSON.stringify(item), /You said: Write a haiku/),
  'job-poll': assertHaiku,
  'job-wait': (item, { berth }) => {
    assertHaiku(item);
    // A workflow that waits ends after its callback.
    assert.ok(berth.lines.some(({ event }) => event === 'callback_delivered'));
  },
  'node-wait': assertHaiku,
};

function assertHaiku({ state, answer }: Record<string, unknown>): void {
  assert.equal(state, 'succeeded');
  assert.match(String(answer), /^\[stand-in\] You said: Write a haiku/);
}

function assertSent({ requests }: MessagesApi, text: string): void {
  const asked = JSON.stringify(requests.map(({ body }) => body));
  assert.ok(asked.includes(JSON.stringify(text).slice(1, -1)));
}
