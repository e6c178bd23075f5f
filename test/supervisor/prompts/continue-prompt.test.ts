import t from 'tap';
import { Continuation } from '../../../supervisor/prompts/continue-prompt.ts';
import type { Prompt, PromptRequest } from '../../../supervisor/prompts/prompt.ts';
import type { SessionRecord } from '../../../supervisor/sessions/session-record.ts';
import { testDirectory } from '../../support/directory.ts';

const sent = { sessionId: 'session-1', promptId: 'prompt-1', cut: true };
const request = { token: 'tests', fork: false, fields: {} } as PromptRequest;

function makeContinuation(locate: () => Promise<string | undefined>) {
  const discarded: string[] = [];
  const unused = () => t.fail('nothing is counted or priced');
  const continuation = new Continuation({
    intake: { resolve: async ({ text }) => ({ text }) as Prompt },
    store: {
      read: async (id) => ({ id, token: 'tests' }) as SessionRecord,
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
      await t.rejects(continuation.resolve(request, sent), {
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
    t.match(await continuation.resolve(request, sent), { lost: false });
    t.strictSame(discarded, ['session-1']);
  },
);
