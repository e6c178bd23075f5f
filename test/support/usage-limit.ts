/** What the API reports about the limits of a subscription. */

/** The response headers, as JSON for a directive. @param resets seconds since 1970 */
export function limitHeaders(status: string, resets: number, claim: string, used: string): string {
  const window = claim === 'five_hour' ? '5h' : '7d';
  const prefix = 'anthropic-ratelimit-unified';
  return JSON.stringify({
    [`${prefix}-status`]: status,
    [`${prefix}-reset`]: String(resets),
    [`${prefix}-representative-claim`]: claim,
    [`${prefix}-${window}-utilization`]: used,
    [`${prefix}-${window}-reset`]: String(resets),
    [`${prefix}-${window}-surpassed-threshold`]: used,
  });
}

/** Seconds since 1970. */
export const inSeconds = (seconds: number): number => Math.ceil(Date.now() / 1_000) + seconds;
