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

/** What room on the disk mends. A job parked for `volume_unwritable` waits for its own time: room mends no permission. */
const roomReasons: readonly ErrorCode[] = ['disk_full'];

/**
 * Milliseconds between two reports of room. A checkout that does not fit may fill the disk itself, and its end makes room
 * again: without a pause, its job would begin again at once. A parked job waits no longer than this anyway.
 */
const betweenRoom = 10 * 60_000;

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
  #roomReported = Number.NEGATIVE_INFINITY;
  readonly #elapsed: () => number;

  /** @param elapsed milliseconds of a monotonic clock */
  constructor(elapsed: () => number = () => performance.now()) {
    this.#elapsed = elapsed;
  }

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

  /** Call it when the disk was full and has room again. Nothing is reported soon after the last report. */
  reportRoom(): void {
    const now = this.#elapsed();
    if (now - this.#roomReported < betweenRoom) return;
    this.#roomReported = now;
    this.report(roomReasons);
  }
}
