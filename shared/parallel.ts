/**
 * Runs `action` for each item, at most `width` at a time. Stops at the first failure or when
 * `signal` aborts.
 */
export async function forEachParallel<T>(
  items: readonly T[],
  width: number,
  signal: AbortSignal,
  action: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failed = false;
  const lane = async (): Promise<void> => {
    while (next < items.length && !failed) {
      signal.throwIfAborted();
      const index = next++;
      try {
        await action(items[index] as T, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  // All lanes end before the function returns, so nothing is written after a failure was reported.
  const lanes = await Promise.allSettled(Array.from({ length: width }, lane));
  for (const ended of lanes) if (ended.status === 'rejected') throw ended.reason;
}
