import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Approval } from '../../../supervisor/approvals/approval.ts';
import { carryOnWith } from '../../../supervisor/jobs/job-approvals.ts';
import { carryOn, carryOnLoggedIn } from '../../../supervisor/prompts/resume-prompt.ts';
import { turnIn } from '../../../supervisor/prompts/turn-in-transcript.ts';
import { testDirectory } from '../../support/directory.ts';

const usage = (output_tokens: number) => ({
  input_tokens: 10,
  output_tokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
});

/** The lines of the CLI 2.1.330, with the fields that matter. */
const prompted = (uuid: string, text = 'a prompt') => ({
  type: 'user',
  uuid,
  turnOrigin: 'sdk',
  timestamp: '2026-11-29T10:00:00.000Z',
  message: { role: 'user', content: text },
});
const said = (id: string, text: string, stop_reason: string | null = 'end_turn') => ({
  type: 'assistant',
  uuid: `uuid-${id}-${text}`,
  timestamp: '2026-11-29T10:00:04.000Z',
  message: {
    ...{ id, role: 'assistant', model: 'claude-opus-5-5', stop_reason },
    content: [{ type: 'text', text }],
    usage: usage(5),
  },
});
const called = (id: string, name: string, input: unknown) => ({
  ...said(id, ''),
  message: {
    ...said(id, '').message,
    stop_reason: 'tool_use',
    content: [{ type: 'tool_use', id: `tool-${id}`, name, input }],
  },
});
const resulted = (id: string, is_error = false) => ({
  type: 'user',
  uuid: `result-${id}`,
  message: {
    role: 'user',
    content: [{ type: 'tool_result', tool_use_id: `tool-${id}`, content: 'hi', is_error }],
  },
});

function turnOf(t: Test, lines: (object | string)[], schema = false) {
  const text = lines.map((line) => (typeof line === 'string' ? line : `${JSON.stringify(line)}\n`));
  const directory = testDirectory(t, { 'transcript.jsonl': text.join('') });
  return turnIn(join(directory, 'transcript.jsonl'), 'mine', schema);
}

t.test('a turn that the model has ended has its answer, its usage and its duration', async (t) => {
  const lines = [
    ...[prompted('before'), said('m0', 'earlier'), prompted('mine')],
    ...[called('m1', 'Bash', {}), resulted('m1'), said('m2', 'done')],
  ];
  t.match(await turnOf(t, lines), {
    kind: 'ended',
    result: 'done',
    output: undefined,
    stopReason: 'end_turn',
    model: 'claude-opus-5-5',
    usage: { ...usage(10), input_tokens: 20 },
    numTurns: 2,
    durationMs: 0,
  });
});

t.test('a message in several lines counts once, with all of its text', async (t) => {
  const lines = [prompted('mine'), said('m1', 'one ', null), said('m1', 'two')];
  t.match(await turnOf(t, lines), { kind: 'ended', result: 'one two', numTurns: 1 });
});

t.test('a prompt that is not in the transcript is unknown', async (t) => {
  t.strictSame(await turnOf(t, [prompted('other'), said('m1', 'x')]), { kind: 'unknown' });
  t.strictSame(await turnIn(undefined, 'mine', false), { kind: 'unknown' });
  t.strictSame(await turnIn('/nowhere', 'mine', false), { kind: 'unknown' });
});

t.test('a transcript that cannot be read is not taken for one without the prompt', async (t) => {
  const directory = testDirectory(t, { 'transcript.jsonl': {} });
  await t.rejects(turnIn(join(directory, 'transcript.jsonl'), 'mine', false), { code: 'EISDIR' });
});

t.test('the prompt is found before any number of bytes', async (t) => {
  const line = `${JSON.stringify(prompted('mine'))}\n`;
  const directory = testDirectory(t, { 'transcript.jsonl': line });
  const path = join(directory, 'transcript.jsonl');
  truncateSync(path, 66 * 1024 * 1024);
  t.strictSame(await turnIn(path, 'mine', false), { kind: 'begun' });
});

t.test('a turn without an end counts as begun, for each kind of last entry', async (t) => {
  const begun = { kind: 'begun' };
  t.strictSame(await turnOf(t, [prompted('mine')]), begun);
  t.strictSame(await turnOf(t, [prompted('mine'), said('m1', 'half', null)]), begun);
  t.strictSame(await turnOf(t, [prompted('mine'), called('m1', 'Bash', {})]), begun);
  t.strictSame(
    await turnOf(t, [prompted('mine'), called('m1', 'Bash', {}), resulted('m1')]),
    begun,
  );
  t.strictSame(await turnOf(t, [prompted('mine'), said('m1', 'done', 'max_tokens')]), begun);
  const failed = { ...said('m1', 'API Error: 529', 'stop_sequence'), isApiErrorMessage: true };
  t.strictSame(await turnOf(t, [prompted('mine'), failed]), begun);
  const torn = JSON.stringify(said('m1', 'done')).slice(0, -20);
  t.strictSame(await turnOf(t, [prompted('mine'), torn]), begun);
});

t.test('a message of a subagent is no end of the turn', async (t) => {
  const aside = { ...said('m1', 'of a subagent'), isSidechain: true };
  t.strictSame(await turnOf(t, [prompted('mine'), aside]), { kind: 'begun' });
});

t.test('a text of berth that continues the turn belongs to the turn', async (t) => {
  const lines = [prompted('mine'), said('m1', 'half', null), prompted('c', carryOn)];
  t.strictSame(await turnOf(t, lines), { kind: 'begun' });
  t.match(await turnOf(t, [...lines, said('m2', 'whole')]), { kind: 'ended', result: 'whole' });
});

t.test('so does one after an approval, and one with a note', async (t) => {
  const call = { tool: 'Bash', input: { command: 'date' }, used: false } as unknown as Approval;
  for (const text of [
    carryOnWith([call]) ?? '',
    `${carryOn}\n\nA note.`,
    `${carryOnLoggedIn} A note.`,
  ]) {
    const first = [prompted('mine'), called('m1', 'Bash', {}), prompted('c', text)];
    t.match(await turnOf(t, [...first, said('m2', 'whole')]), { result: 'whole' }, text);
  }
});

t.test('another prompt of the session ends the search', async (t) => {
  const other = [prompted('other'), said('m9', 'of the other prompt')];
  t.match(await turnOf(t, [prompted('mine'), said('m1', 'mine'), ...other]), { result: 'mine' });
  t.strictSame(await turnOf(t, [prompted('mine'), ...other]), { kind: 'overtaken' });
});

t.test('with a schema the turn ends with an accepted output, not with a text', async (t) => {
  const output = called('m1', 'StructuredOutput', { answer: 'yes' });
  const reminder = { ...prompted('r'), turnOrigin: undefined, isMeta: true };
  const ended = [prompted('mine'), output, resulted('m1')];
  t.match(await turnOf(t, ended, true), {
    kind: 'ended',
    result: '{"answer":"yes"}',
    output: { answer: 'yes' },
  });
  for (const lines of [
    [prompted('mine'), said('m0', 'a text')],
    [prompted('mine'), said('m0', 'a text'), reminder],
    [prompted('mine'), output],
    [prompted('mine'), output, resulted('m1', true)],
  ]) {
    t.strictSame(await turnOf(t, lines, true), { kind: 'begun' });
  }
});

t.test(
  'a line that is longer than the pieces in which the file is read is read whole',
  async (t) => {
    const long = 'x'.repeat(3 * 1024 * 1024);
    const lines = [said('m0', long), prompted('mine', long), said('m1', long), prompted('next')];
    const turn = await turnOf(t, lines);
    t.equal(turn.kind === 'ended' && turn.result.length, long.length);
  },
);
