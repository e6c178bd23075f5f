/**
 * Asks `/livez` every 50 ms, from a process of its own so that what loads the test does not delay it.
 * Prints the milliseconds of each answer as one JSON list when its input ends; -1 for one that failed.
 */
import { setInterval as every } from 'node:timers/promises';

const [, , url = ''] = process.argv;
const took: number[] = [];
/** The metrics port keeps 32 connections: above that it closes the oldest, unanswered. */
const most = 16;
const asking = new Set<Promise<void>>();
const ending = new AbortController();

async function ask(): Promise<void> {
  const began = performance.now();
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(60_000) });
    await response.text();
    took.push(response.ok ? performance.now() - began : -1);
  } catch {
    took.push(-1);
  }
}

process.stdin.resume().once('end', () => ending.abort());
try {
  for await (const _ of every(50, undefined, { signal: ending.signal })) {
    if (asking.size >= most) continue;
    const one = ask().finally(() => asking.delete(one));
    asking.add(one);
  }
} catch {
  // Its input has ended.
}
await Promise.all(asking);
process.stdout.write(JSON.stringify(took));
