/** Builds the request of the prompt that a job runs. */
import type { PromptRequest } from '../prompts/prompt.ts';
import type { Job } from './job.ts';

/** @param job the fields of a job, also of a job that is not accepted yet */
export function promptRequestOf({
  request,
  token,
  tokenId,
  priority,
}: Pick<Job, 'request' | 'token' | 'tokenId' | 'priority'>): PromptRequest {
  const { prompt, session_id, fork, profile, on_recycle, traceparent } = request;
  const { workspace, publish } = request;
  const { model, append_system_prompt, allowed_tools, max_turns, max_budget_usd } = request;
  return {
    text: prompt,
    ...{ workspace, publish },
    sessionId: session_id,
    fork: fork ?? false,
    profile,
    fields: {
      ...{ model, append_system_prompt, allowed_tools, max_turns, max_budget_usd },
      output_schema: request.output_schema,
    },
    // A job waits in its store for the end of a limit, and not in the queue of prompts.
    onLimit: 'fail',
    onRecycle: on_recycle ?? 'continue',
    token,
    tokenId: tokenId ?? undefined,
    traceparent,
    priority,
  };
}
