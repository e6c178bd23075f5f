/**
 * The shape of a tool of the MCP server, and the parts that the tools use.
 * Invariant: a tool calls the same functions as the routes of the API. A tool has no rules of its own about who may do
 * what.
 */
import type { z } from 'zod';
import type { Profile } from '../../profiles/profile.ts';
import type { Caller } from '../job-fields.ts';
import type { JobParts } from '../jobs.ts';
import type { SessionParts } from '../sessions.ts';

export interface McpParts extends JobParts, SessionParts {
  /** Bytes that a prompt may have besides its attachments. */
  maxPromptBytes: number;
  profiles: {
    all(): Profile[];
    /** @throws BerthError `profile_not_found` */
    forToken(token: string, requested: string | undefined): Profile;
  };
}

/** One call of a tool. */
export interface ToolCall {
  caller: Caller;
  /** Aborts when the client has gone, or cancels the call. */
  signal: AbortSignal;
  /** Reports what happens to a client that wants progress; undefined if the client wants none. */
  progress: ((message: string) => Promise<void>) | undefined;
}

export interface ToolAnswer {
  /** Matches the output schema of the tool. */
  structured: Record<string, unknown>;
  /** For the model; absent: the structured answer as JSON. */
  text?: string;
  /** The call did what it could, and the work has failed. */
  failed?: boolean;
  /** The job whose result is a resource. */
  resultOf?: string;
}

export interface Tool {
  name: string;
  title: string;
  /** For the model that selects a tool. */
  description: string;
  input: z.ZodObject;
  output: z.ZodObject;
  /** Hints for clients that ask a person before a call. */
  hints: { readOnlyHint: boolean; destructiveHint: boolean; idempotentHint: boolean };
  run: (parts: McpParts, input: never, call: ToolCall) => Promise<ToolAnswer>;
}

/** Lets the compiler check the function of a tool against the schemas of the tool. */
export function tool<I extends z.ZodObject, O extends z.ZodObject>(
  row: Omit<Tool, 'input' | 'output' | 'run'> & {
    input: I;
    output: O;
    run: (
      parts: McpParts,
      input: z.output<I>,
      call: ToolCall,
    ) => Promise<ToolAnswer & { structured: z.input<O> }>;
  },
): Tool {
  return row;
}

/** Hints of a tool that changes nothing. */
export const reads = { readOnlyHint: true, destructiveHint: false, idempotentHint: true };
/** Hints of a tool that begins work: what a prompt may do is the matter of its profile. */
export const works = { readOnlyHint: false, destructiveHint: true, idempotentHint: false };
