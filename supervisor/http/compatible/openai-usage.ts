/** Usage and ends of a turn in the words of OpenAI's APIs. */
import type { Reply } from '../../conversations/conversations.ts';

/** All tokens that the model has read, from its cache or not. */
export function promptTokensOf(usage: Reply['answer']['usage']): number {
  const { input_tokens, cache_creation_input_tokens, cache_read_input_tokens } = usage;
  return input_tokens + cache_creation_input_tokens + cache_read_input_tokens;
}

export function finishReasonOf({ answer }: Reply): 'stop' | 'length' | 'content_filter' {
  switch (answer.stop_reason) {
    case 'max_tokens':
    case 'model_context_window_exceeded':
      return 'length';
    case 'refusal':
      return 'content_filter';
    default:
      return 'stop';
  }
}
