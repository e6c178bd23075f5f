import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Continuation } from '../../../supervisor/prompts/continue-prompt.ts';
import type { Prompt, PromptRequest } from '../../../supervisor/prompts/prompt.ts';
import type { SessionRecord } from '../../../supervisor/sessions/session-record.ts';
import { testDirectory } from '../../support/directory.ts';
import { sessionRecord } from '../../support/session-record.ts';

const never = new AbortController().signal;
const sent = { sessionId: 'session-1', promptId: 'prompt-1', cut: true };
const request = { token: 'tests', fork: false, fields: {} } as PromptRequest;

function makeContinuation(locate: () => Promise<string | undefined>, turns = 0) {
  const discarded: string[] = [];
  const unused = () => t.fail('nothing is counted or priced');
  const continuation = new Continuation({
    promptResolver: { resolve: async ({ text, attachments }) => ({ text, attachments }) as Prompt },
    store: {
      read: async (id) => ({ id, token: 'tests', turns }) as SessionRecord,
      peek: unused as never,
      note: unused,
    },
    transcripts: { locate },
    catalog: { discard: async (id) => void discarded.push(id) },
    rates: { priced: unused as never },
    spent: unused,
  });
  return { continuation, discarded };
}

t.test(
  'a transcript that cannot be read leaves the session, and the prompt is not sent',
  async (t) => {
    const unread = [
      // No file can be opened for reading there.
      async () => testDirectory(t, {}),
      async () => {
        throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
      },
    ];
    for (const locate of unread) {
      const { continuation, discarded } = makeContinuation(locate);
      await t.rejects(continuation.resolve(request, sent, never), {
        code: 'volume_unwritable',
        message: /the transcript of its session cannot be read.*check the volume/,
      });
      t.strictSame(discarded, []);
    }
  },
);

t.test(
  'a session of a job without a transcript is discarded, and the prompt is sent',
  async (t) => {
    const { continuation, discarded } = makeContinuation(async () => undefined);
    t.match(await continuation.resolve(request, sent, never), { lost: false });
    t.strictSame(discarded, ['session-1']);
  },
);

/** The transcript of a session in which a tool of the turn ran, and then another prompt came. */
function overtakenTranscript(t: Test): string {
  const user = (uuid: string) => ({ type: 'user', uuid, turnOrigin: 'sdk' });
  const call = { type: 'tool_use', id: 'call', name: 'Bash', input: {} };
  const lines = [
    { ...user('prompt-1'), message: { content: 'deploy' } },
    { type: 'assistant', message: { id: 'm1', stop_reason: 'tool_use', content: [call] } },
    { ...user('prompt-2'), message: { content: 'something else' } },
  ];
  const transcript = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  return join(testDirectory(t, { transcript }), 'transcript');
}

t.test('a turn that another prompt has overtaken is not sent again as a whole', async (t) => {
  const { continuation } = makeContinuation(async () => overtakenTranscript(t));
  const attachments = [{ name: 'a.txt' }] as unknown as PromptRequest['attachments'];
  for (const cut of [true, false]) {
    const deploy = { ...request, text: 'deploy', attachments };
    const continued = await continuation.resolve(deploy, { ...sent, cut }, never);
    if (!('prompt' in continued)) return t.fail('the turn has no answer');
    const { text, continues, attachments: files } = continued.prompt;
    t.match(text, /do not repeat what is already done:\n\ndeploy$/);
    t.strictSame([continues, files], [undefined, undefined], 'it is a turn of its own');
  }
});

t.test('an overtaken turn whose caller opted out ends with worker_recycled', async (t) => {
  const { continuation } = makeContinuation(async () => overtakenTranscript(t));
  for (const cut of [true, false]) {
    const optedOut = { ...request, onRecycle: 'fail' } as const;
    await t.rejects(continuation.resolve(optedOut, { ...sent, cut }, never), {
      code: 'worker_recycled',
      details: { session_id: 'session-1' },
    });
  }
});

t.test('a new session that other prompts have used is not discarded', async (t) => {
  const { continuation, discarded } = makeContinuation(async () => overtakenTranscript(t), 1);
  const unwritten = { ...sent, promptId: 'prompt-3' };
  const continued = await continuation.resolve({ ...request, text: 'deploy' }, unwritten, never);
  t.match(continued, { prompt: { text: /what is already done:\n\ndeploy$/ } });
  t.strictSame(discarded, []);
});

t.test('a turn is counted in the record that another prompt has changed meanwhile', async (t) => {
  const message = { id: 'm1', model: 'opus', stop_reason: 'end_turn', content: 'whole' };
  const line = { type: 'assistant', timestamp: '2026-11-29T10:00:00.000Z', message };
  const transcript = `{"uuid":"prompt-1"}\n${JSON.stringify(line)}\n`;
  const directory = testDirectory(t, { transcript });
  const earlier = { id: 'session-1', token: 'tests', last_used_at: '2026-11-29T09:00:00.000Z' };
  const read = sessionRecord({ ...earlier, turns: 1, cost_usd: 1 });
  const current = { ...read, last_used_at: '2026-11-29T11:00:00.000Z', turns: 2, cost_usd: 3 };
  const noted: SessionRecord[] = [];
  const continuation = new Continuation({
    promptResolver: { resolve: async () => t.fail('the turn has ended') as never },
    store: {
      read: async () => read,
      peek: () => current,
      note: (record) => void noted.push(record),
    },
    transcripts: { locate: async () => join(directory, 'transcript') },
    catalog: { discard: async () => t.fail('the session stays') as never },
    rates: { priced: (_, turn) => ({ ...turn, costUsd: 0.5 }) },
    spent: () => {},
  });
  t.match(await continuation.resolve(request, sent, never), { answer: { result: 'whole' } });
  t.match(noted, [{ turns: 3, cost_usd: 3.5, last_used_at: current.last_used_at }]);
});
