/** Passes on that a limit, a pause or a fault has ended, for which jobs may be parked. */
import type { ErrorCode } from '../../shared/errors.ts';

/** What another configuration may mend, which a restart brings too. */
const configurationReasons: readonly ErrorCode[] = [
  ...([
    'configuration_invalid',
    'cli_unavailable',
    'mcp_unavailable',
    'model_unavailable',
  ] as const),
  ...(['login_required', 'login_unavailable', 'billing_required'] as const),
  ...(['daily_budget_exceeded', 'prompts_exceeded'] as const),
];

/** What a change of the profiles may mend. */
export const profileReasons: readonly ErrorCode[] = [...configurationReasons, 'quota_reserved'];

/** What a valid login may mend. */
export const loginReasons: readonly ErrorCode[] = [
  'login_required',
  'login_unavailable',
  'billing_required',
];

/** What the login of another account may mend. */
export const accountReasons: readonly ErrorCode[] = [
  'usage_limit',
  'rate_limited',
  'quota_reserved',
];

/** What the end of a limit mends. */
export const limitReasons: readonly ErrorCode[] = ['usage_limit', 'rate_limited'];

/** Milliseconds over which the jobs begin that a limit had parked. */
export const limitSpread = 30_000;

/**
 * What a restart may mend: settings and variables may have changed. The limits of the account are not among them, since
 * berth has forgotten what the account has used. If the login is that of another account, they end too.
 */
export function restartReasons(isPaused: boolean): readonly ErrorCode[] {
  const reasons: readonly ErrorCode[] = [
    ...configurationReasons,
    ...(['workspace_unavailable', 'publish_failed', 'not_supported'] as const),
  ];
  return isPaused ? reasons : [...reasons, 'paused'];
}

export class LimitEnds {
  #listener: ((reasons: readonly string[], spread: number) => void) | undefined;

  /** There is one listener at most. @returns ends it */
  onEnd(listener: (reasons: readonly string[], spread: number) => void): () => void {
    this.#listener = listener;
    return () => {
      if (this.#listener === listener) this.#listener = undefined;
    };
  }

  /**
   * @param reasons error codes with which jobs are parked
   * @param spread milliseconds over which these jobs become due
   */
  report(reasons: readonly string[], spread = 0): void {
    this.#listener?.(reasons, spread);
  }
}
