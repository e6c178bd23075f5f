import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import {
  type ConversationRequest,
  Conversations,
  type SessionOrigin,
} from '../../../supervisor/conversations/conversations.ts';
import type { Message } from '../../../supervisor/conversations/message.ts';
import type { Profile } from '../../../supervisor/profiles/profile.ts';
import type { Answer } from '../../../supervisor/prompts/answer.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';
import type { SessionRecord } from '../../../supervisor/sessions/session-record.ts';
import { testDirectory } from '../../support/directory.ts';
import { idOf, sessionRecord } from '../../support/session-record.ts';

/** Conversations with records in memory; `answer` stands for the turn that follows the sending of a prompt. */
function makeConversations(records = new Map<string, SessionRecord>(), transcript?: string) {
  const origins: SessionOrigin[] = [];
  const forks: (string | undefined)[] = [];
  const turns = {
    answer: async (): Promise<string> => 'fine',
    /** Stands for the wait for a worker. */
    waits: async (): Promise<void> => {},
    gone: new Set<string>(),
    forks: true,
  };
  const store = {
    loaded: Promise.resolve(),
    records: { [Symbol.iterator]: () => records.values() },
    read: async (id: string) => records.get(id),
    peek: (id: string) => records.get(id),
    note: (record: SessionRecord) => void records.set(record.id, record),
  };
  const profile = { name: 'default', aliases: [] } as unknown as Profile;
  const conversations = new Conversations({
    promptResolver: {
      resolve: async ({ sessionId = '', ...rest }) =>
        ({ ...rest, record: records.get(sessionId) }) as unknown as Prompt,
    },
    prompts: {
      run: async ({ record, fork, forkAt, onSend }: Prompt) => {
        if (fork) forks.push(forkAt);
        const id = (fork ? undefined : record?.id) ?? idOf(records.size);
        if (turns.gone.has(id)) throw new BerthError('session_not_found', 'cannot continue it');
        await turns.waits();
        await onSend?.({ sessionId: id, promptId: idOf(99) });
        goesOn(records, id);
        const result = await turns.answer();
        return { session_id: id, result } as Answer;
      },
    },
    profiles: { all: () => [profile], forToken: () => profile },
    store,
    transcripts: { find: async () => transcript },
    forksAt: async () => turns.forks,
    onOrigin: (origin) => origins.push(origin),
  });
  const ask = (
    messages: Message[],
    more: Partial<ConversationRequest> = {},
    caller = new AbortController().signal,
  ) => {
    const fixed = { model: 'berth', messages, token: 'n8n' };
    return conversations.run({ ...absent, ...fixed, ...more } as ConversationRequest, caller);
  };
  return { ask, forks, origins, records, turns };
}

/** As a prompt that is sent to the session. */
function goesOn(records: Map<string, SessionRecord>, id: string): void {
  const { conversation: _, ...rest } = records.get(id) ?? sessionRecord({ id });
  records.set(id, rest);
}

const absent = {
  ...{ instructions: undefined, previous: undefined, response: undefined },
  ...{ outputSchema: undefined, tokenId: undefined, traceparent: undefined },
};

const begun: Message[] = [{ role: 'user', text: 'begin' }];
const known: Message[] = [
  ...begun,
  { role: 'assistant', text: 'fine' },
  { role: 'user', text: 'on' },
];

t.test('after a kill in mid-turn the same request does not continue that session', async (t) => {
  const { ask, origins, records, turns } = makeConversations();
  await ask(begun);
  const killed = Promise.withResolvers<string>();
  const sent = Promise.withResolvers<void>();
  turns.answer = () => {
    sent.resolve();
    return killed.promise;
  };
  const asked = ask(known);
  await sent.promise;
  const restarted = makeConversations(new Map(records));
  await restarted.ask(known);
  t.strictSame(restarted.origins, ['history']);
  killed.resolve('fine');
  await asked;
  const whole: Message[] = [
    ...known,
    { role: 'assistant', text: 'fine' },
    { role: 'user', text: 'x' },
  ];
  const later = makeConversations(records);
  await later.ask(whole);
  t.strictSame(origins, ['new', 'continued']);
  t.strictSame(later.origins, ['continued'], 'the answer makes the session known again');
});

t.test('a session without a transcript is replaced, once', async (t) => {
  const { ask, origins, turns } = makeConversations();
  const { answer } = await ask(begun, { response: 'resp_1' });
  turns.gone.add(answer.session_id);
  t.not((await ask(known)).answer.session_id, answer.session_id);
  t.strictSame(origins, ['new', 'continued', 'history']);
  await ask(known);
  t.strictSame(origins.slice(3), ['history'], 'it is not tried again');
  const named = ask([{ role: 'user', text: 'on' }], { previous: 'resp_1' });
  await t.rejects(named, { code: 'session_not_found' });
});

t.test('a session that went on elsewhere is not taken for its old history', async (t) => {
  const { ask, origins, records } = makeConversations();
  const { answer } = await ask(begun);
  records.set(answer.session_id, sessionRecord({ id: answer.session_id }));
  t.not((await ask(known)).answer.session_id, answer.session_id);
  t.strictSame(origins, ['new', 'history']);
});

t.test('a session that goes on while a prompt waits for it is not continued', async (t) => {
  const { ask, origins, records, turns } = makeConversations();
  const { answer } = await ask(begun);
  turns.waits = async () => {
    turns.waits = async () => {};
    goesOn(records, answer.session_id);
  };
  t.not((await ask(known)).answer.session_id, answer.session_id);
  t.strictSame(origins, ['new', 'continued', 'history']);
});

t.test('the end of a session that has gone on is not forked', async (t) => {
  const transcript = join(testDirectory(t, {}), 'transcript.jsonl');
  writeFileSync(transcript, '{"uuid":"the-answer"}\n');
  const { ask, forks, origins, records, turns } = makeConversations(undefined, transcript);
  const { answer } = await ask(begun);
  const waits = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  turns.waits = () => {
    turns.waits = async () => {};
    waits.resolve();
    return goOn.promise;
  };
  const both = [ask(known), ask(known)];
  await waits.promise;
  goesOn(records, answer.session_id);
  writeFileSync(transcript, '{"uuid":"the-answer"}\n{"uuid":"of-a-job"}\n');
  goOn.resolve();
  await Promise.all(both);
  t.strictSame(origins, ['new', 'continued', 'history', 'history']);
  t.strictSame(forks, []);
});

t.test('without a fork at a message, an earlier history begins a session as data', async (t) => {
  const transcript = join(testDirectory(t, {}), 'transcript.jsonl');
  writeFileSync(transcript, '{"uuid":"the-answer"}\n');
  const { ask, forks, origins, turns } = makeConversations(undefined, transcript);
  turns.forks = false;
  await ask(begun);
  await ask(known);
  await ask(known);
  t.strictSame(origins, ['new', 'continued', 'history']);
  t.strictSame(forks, []);
});

t.test('a token that names the response of another does not make it unknown', async (t) => {
  const { ask } = makeConversations();
  const { answer } = await ask(begun, { response: 'resp_1' });
  const next = { previous: 'resp_1', response: 'resp_2' };
  const message: Message[] = [{ role: 'user', text: 'on' }];
  await t.rejects(ask(message, { ...next, token: 'other' }), { code: 'session_not_found' });
  t.equal((await ask(message, next)).answer.session_id, answer.session_id);
});

t.test('a fork has the last answer, which the CLI writes after it was given', async (t) => {
  const transcript = join(testDirectory(t, {}), 'transcript.jsonl');
  writeFileSync(transcript, '{"uuid":"the-prompt"}\n');
  const { ask, forks, origins, turns } = makeConversations(undefined, transcript);
  await ask(begun);
  // As the CLI does. This timer is due before the one that a fork waits for, however slow the machine is.
  setTimeout(() => appendFileSync(transcript, '{"uuid":"the-answer"}\n'), 200);
  const held = Promise.withResolvers<string>();
  turns.answer = () => {
    turns.answer = async () => 'fine';
    return held.promise;
  };
  const first = ask(known);
  const second = ask(known);
  await second;
  held.resolve('fine');
  await first;
  t.strictSame(origins, ['new', 'continued', 'forked']);
  t.strictSame(forks, ['the-answer']);
});

t.test(
  'a client that leaves while its fork waits ends with the reason of its leaving',
  async (t) => {
    const { ask, turns } = makeConversations();
    await ask(begun);
    const held = Promise.withResolvers<string>();
    turns.answer = () => held.promise;
    const first = ask(known);
    const leaving = new AbortController();
    const second = ask(known, {}, leaving.signal);
    leaving.abort(new BerthError('interrupted', 'cannot answer the prompt: the caller left'));
    await t.rejects(second, { code: 'interrupted' });
    held.resolve('fine');
    await first;
  },
);
