/**
 * What the labels of counters may say, so that each is told as 0 before it happens: Prometheus sees a rise
 * between two scrapes only, and what it first hears of as 1 has not risen; it would be on no dashboard and
 * raise no alert. Always complete: the types are those of the parts that count.
 */
import type { ErrorCode } from '../shared/errors.ts';
import type { CredentialsEvent } from './credentials/watch.ts';
import type { RemovalReason } from './sessions/retention.ts';

/** As a record, so that the compiler misses a name that is left out. */
function all<Name extends string>(names: Record<Name, true>): readonly Name[] {
  return Object.keys(names) as Name[];
}

export const removalReasons = all<RemovalReason>({ retention: true, budget: true });

export const credentialsEvents = all<CredentialsEvent>({
  ...{ valid: true, blank: true, torn: true, missing: true, older: true },
  ...{ refreshed: true, put_back: true, adopted: true },
});

/** How a prompt that was taken may end; what is refused before is no prompt yet. */
export const outcomes: readonly ('ok' | ErrorCode)[] = [
  ...(['ok', 'interrupted', 'turn_failed', 'prompt_timeout', 'internal', 'draining'] as const),
  ...(['worker_lost', 'worker_recycled', 'cli_unavailable', 'queue_full', 'disk_full'] as const),
  ...(['model_unavailable', 'overloaded', 'rate_limited', 'usage_limit'] as const),
  ...(['model_not_found', 'permission_denied', 'billing_required', 'prompt_too_large'] as const),
  ...(['login_required', 'login_unavailable', 'budget_exceeded', 'turns_exceeded'] as const),
  ...(['output_mismatch', 'daily_budget_exceeded', 'paused', 'session_not_found'] as const),
];
