/**
 * The events of a streamed answer, for the OpenAPI document. The compiler compares each schema with the
 * type of the event that is sent.
 */
import { z } from 'zod';
import type { TurnEvent } from '../prompts/turn.ts';

type Data<E extends TurnEvent['event']> = Extract<TurnEvent, { event: E }>['data'];

const count = z.number().int().nonnegative();

const running = {
  queued: z
    .object({ position: count.describe('1 is the next') })
    .describe('The prompt waits for a worker; again when its place changes'),
  limited: z
    .object({ reason: z.enum(['usage_limit', 'rate_limited']), resets_at: z.string().nullable() })
    .describe('The prompt waits for the end of a limit of the account (on_limit)'),
  session: z
    .object({ session_id: z.string(), model: z.string(), skills: z.array(z.string()) })
    .describe(
      'The turn has begun; the session can be continued from now on. After `recycled` it is sent again: with the same id, unless the process was lost before the session was stored',
    ),
  text: z.object({ text: z.string() }).describe('A piece of the answer'),
  tool: z
    .object({ id: z.string(), name: z.string(), input: z.unknown() })
    .describe('A tool is used'),
  tool_result: z.object({ id: z.string(), is_error: z.boolean() }).describe('A tool has ended'),
  approval: z
    .object({
      id: z.string(),
      state: z.enum(['pending', 'allowed', 'denied']),
      tool: z.string(),
      input: z.unknown().describe('The whole input of the tool'),
      expires_at: z.string().describe('Without a decision until then, the call is denied'),
      decided_by: z
        .string()
        .nullable()
        .describe('The name of the token, `link` or `timeout`; null while it is pending'),
    })
    .describe('A call of a tool waits for an approval; again when the approval is decided'),
  recycled: z
    .object({ reason: z.string(), session_id: z.string().nullable() })
    .describe('The process was lost or ended; the turn continues in another process'),
  retry: z
    .object({
      attempt: count,
      max_retries: count,
      delay_ms: z.number(),
      status: z.number().nullable().describe('The status of the model API'),
    })
    .describe('The model API failed, and the CLI retries'),
} satisfies { [E in TurnEvent['event']]: z.ZodType<Data<E>> };

/** By name; the last event, `result` or `error`, has the answer or the problem as its data. */
export const streamEvents: Readonly<Record<string, z.ZodType>> = running;

/** One stream as it is sent. */
export const streamExample = `event: session
data: {"session_id":"0b8f…","model":"claude-sonnet-4-5","skills":[]}

event: text
data: {"text":"Hel"}

: still here

event: text
data: {"text":"lo"}

event: result
data: {"id":"prompt_…","session_id":"0b8f…","result":"Hello", …}

`;
