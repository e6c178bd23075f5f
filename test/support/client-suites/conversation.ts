/** What the suites of all client libraries have in common: a conversation of several turns, seen at the stand-in API. */
import type { Test } from 'tap';
import { type MessagesApi, promptText } from '../messages-api.ts';

/** Where a client library sends its requests. */
export interface ClientAddress {
  /** Where berth accepts prompts. */
  url: string;
  token: string;
}

export interface ClientTarget extends ClientAddress {
  api: MessagesApi;
  /** Of each conversation. */
  turns: number;
}

export interface Turn {
  role: 'user' | 'assistant';
  content: string;
}

/** How one client library sends the turns of a conversation. */
export interface Sends {
  /** The name of the library in the messages of a failure. */
  name: string;
  /** Sends the history and returns the answer. */
  whole: (history: readonly Turn[]) => Promise<string>;
  /** The same as a stream; returns the pieces of the answer. */
  streamed: (history: readonly Turn[]) => Promise<string[]>;
}

export const instructions = 'You answer a library of the tests.';

/**
 * Sends the whole history each time, as clients do, whole and as a stream by turns, and checks that one session has
 * answered.
 * @param name makes the texts of this conversation different from those of other ones
 * @param libraries those that send the turns: each one sends two turns, whole and as a stream, before the next one
 */
export async function converse(
  t: Test,
  { api, turns }: Pick<ClientTarget, 'api' | 'turns'>,
  name: string,
  ...libraries: [Sends, ...Sends[]]
): Promise<void> {
  const history: Turn[] = [];
  for (let turn = 1; turn <= turns; turn += 1) {
    const content = `[[slow 1]] [[say ${name} answer ${turn}]] question ${turn}`;
    history.push({ role: 'user', content });
    const library = libraries[Math.floor((turn - 1) / 2) % libraries.length] ?? libraries[0];
    const isStream = turn % 2 === 0;
    const pieces = await (isStream
      ? library.streamed(history)
      : library.whole(history).then((text) => [text])
    ).catch((cause) => {
      throw new Error(`${library.name} has no answer ${turn}: ${cause}`, { cause });
    });
    t.equal(pieces.join(''), `${name} answer ${turn}`, `${library.name} has answer ${turn}`);
    if (isStream) t.ok(pieces.length > 1, `the text came in pieces to ${library.name}`);
    history.push({ role: 'assistant', content: pieces.join('') });
  }
  const asked = api.requests.filter((request) => promptText(request)?.includes(`${name} answer`));
  t.equal(asked.length, turns, 'each turn was one call of the model');
  const sessions = new Set(asked.map(({ headers }) => headers['x-claude-code-session-id']));
  t.equal(sessions.size, 1, 'all turns ran in one session');
  const last = asked.at(-1)?.body;
  t.match(JSON.stringify(last?.system), instructions);
  const texts = JSON.stringify(last?.messages);
  for (let turn = 1; turn < turns; turn += 1) {
    t.equal(texts.split(`question ${turn}"`).length, 2, `question ${turn} is there once`);
  }
  t.notMatch(texts, '<conversation>', 'no history was sent as text');
}
