/** Rivals in turn, round by round, another one first in each. */

export interface Rival {
  name: string;
  /** What need not be timed: bringing the rival to where a prompt meets it in real use. */
  ready?: () => Promise<void>;
  run: () => Promise<void>;
}

/** Rounds that warm everybody up and are not counted. */
const warmUp = 2;

/** The times of each rival in ms, by name, in the rivals' order. */
export async function compete(
  rivals: readonly Rival[],
  rounds: number,
): Promise<Map<string, number[]>> {
  const times = new Map(rivals.map(({ name }) => [name, [] as number[]]));
  for (let round = -warmUp; round < rounds; round++) {
    for (const { name, ready, run } of rotated(rivals, round)) {
      await ready?.();
      const started = performance.now();
      await run();
      if (round >= 0) times.get(name)?.push(performance.now() - started);
    }
    if (process.stderr.isTTY) process.stderr.write(`\rround ${round + 1} of ${rounds} `);
  }
  return times;
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const start = ((by % items.length) + items.length) % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
