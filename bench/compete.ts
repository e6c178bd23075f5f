/** Measures competitors in rounds; each round begins with another competitor. */

export interface Rival {
  name: string;
  /** Not timed: brings the competitor to the state in which it gets a prompt in real use. */
  ready?: () => Promise<void>;
  run: () => Promise<void>;
}

/** Warm-up rounds, which are not counted. */
const warmUp = 2;

/** Returns the times of each competitor in ms, by name, in the given sequence. */
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
