/** The kinds of prompts of the soak: what each sends, and what may come of it. */
import type { Random } from './random.ts';

export const kinds = [
  'new',
  'new by SSE',
  'follow-up',
  'follow-up by SSE',
  'fork',
  'heartbeat',
  'tool',
  'cancelled',
  'timed out',
  'refused by the API',
  'bad',
  'deleted session',
] as const;

export type Kind = (typeof kinds)[number];

/** In a hundred. */
const shares: Readonly<Record<Kind, number>> = {
  new: 19,
  'new by SSE': 12,
  'follow-up': 16,
  'follow-up by SSE': 10,
  fork: 5,
  heartbeat: 5,
  tool: 8,
  cancelled: 9,
  'timed out': 4,
  'refused by the API': 3,
  bad: 5,
  'deleted session': 4,
};

export function pickKind(random: Random): Kind {
  let at = random.next() * Object.values(shares).reduce((sum, share) => sum + share, 0);
  for (const kind of kinds) {
    at -= shares[kind];
    if (at < 0) return kind;
  }
  return 'new';
}

/** Those that want a session that is there. */
export const continues: ReadonlySet<Kind> = new Set([
  'follow-up',
  'follow-up by SSE',
  'fork',
  'deleted session',
]);

/** What the model is told to do; `text` is what it then says. */
export function directivesOf(kind: Kind, canary: string, random: Random): string {
  const slow = random.below(3) === 0 ? `[[slow ${random.below(60)}]] ` : '';
  switch (kind) {
    case 'tool':
      return `${slow}[[tool Bash ${JSON.stringify({ command: `sleep 0.${random.below(5)}; echo ${canary}` })}]]`;
    case 'cancelled':
      return `[[slow ${100 + random.below(200)}]] [[say never ${canary}]]`;
    case 'timed out':
      return `[[say never ${canary}]] [[hang stream]]`;
    case 'refused by the API':
      return `[[status 529]] ${canary}`;
    default:
      return `${slow}[[say I am ${canary}]]`;
  }
}

/** Ways in which a request can be no prompt at all, and how each is answered. */
export const badRequests = [
  { body: { prompt: 7 }, code: 'invalid_request' },
  { body: { prompt: 'hi', nonsense: true }, code: 'invalid_request' },
  { body: { prompt: 'hi', profile: 'nobody' }, code: 'profile_not_found' },
  { body: { prompt: 'hi', fork: true }, code: 'invalid_request' },
  {
    body: { prompt: 'hi', session_id: '6f1c3b0e-6b0f-4b57-8d28-5d3c1f0f7a11' },
    code: 'session_not_found',
  },
] as const;

/** Codes with which a prompt may end whose process was killed: carried on once, and lost again. */
export const lossCodes: ReadonlySet<string> = new Set(['worker_lost', 'worker_recycled']);

/** What may come of a kind besides an answer; undefined: nothing does. */
export const wantedCode: Readonly<Partial<Record<Kind, string>>> = {
  'timed out': 'prompt_timeout',
  'refused by the API': 'overloaded',
  'deleted session': 'session_not_found',
};
