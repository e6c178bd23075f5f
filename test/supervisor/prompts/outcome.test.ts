import t from 'tap';
import type { TurnResult } from '../../../supervisor/claude/turn-result.ts';
import { failureOf } from '../../../supervisor/prompts/outcome.ts';
import type { TurnEnd } from '../../../supervisor/prompts/turn.ts';

const end = (result: Partial<TurnResult>, failure?: string): TurnEnd => ({
  result: { isError: true, terminalReason: 'api_error', result: 'x', ...result } as TurnResult,
  failure,
  limit: undefined,
  toolErrors: [],
  text: '',
  hooks: {},
});

t.test('an unknown end of a turn is an error', (t) => {
  const code = (failed: TurnEnd) => failureOf(failed)?.code;
  t.equal(code(end({})), 'model_unavailable', 'no status: the API was not reached');
  t.equal(code(end({ apiErrorStatus: 418 })), 'turn_failed');
  t.equal(code(end({ terminalReason: 'gone_fishing' })), 'turn_failed');
  t.equal(code(end({ terminalReason: undefined })), 'turn_failed');
  t.equal(code(end({ terminalReason: 'aborted_tools' })), 'interrupted');
  t.equal(code(end({ terminalReason: 'image_error', apiErrorStatus: 413 })), 'prompt_too_large');
  t.equal(code(end({ isError: false })), undefined);
  t.end();
});

t.test('a limit of one model alone does not say that the account is at its limit', (t) => {
  const limited = end({ apiErrorStatus: 429, apiError: 'usage_limit_reached' });
  const limit = (type: string, seconds = 60) => ({
    status: 'rejected',
    type,
    resetsAt: Date.now() + seconds * 1_000,
    utilization: 1,
    usingOverage: false,
    windows: {},
  });
  const details = (type: string) => failureOf({ ...limited, limit: limit(type) })?.details;
  t.match(details('seven_day_opus'), { model_only: true, resets_at: String, retry_after: Number });
  t.equal(details('seven_day')?.model_only, undefined);
  t.same(Object.keys(failureOf(limited)?.details ?? {}).includes('resets_at'), false);
  const passed = failureOf({ ...limited, limit: limit('seven_day_opus', -60) })?.details;
  t.match(passed, { model_only: true, resets_at: String });
  t.equal(passed?.retry_after, undefined, 'no second after which a retry would succeed');
  t.end();
});
