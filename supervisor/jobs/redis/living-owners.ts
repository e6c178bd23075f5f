/**
 * The owners of running jobs that are alive.
 * Invariant: the clock of Redis alone judges this: the clocks of replicas differ, and may be set.
 */
import type { RedisConnection, Reply } from './connection.ts';
import type { Keys } from './keys.ts';
import { owners } from './scripts.ts';

/** @param lost milliseconds without a sign of life after which an owner is gone */
export async function livingOwners(
  connection: RedisConnection,
  keys: Keys,
  lost: number,
): Promise<string[]> {
  const [clock, signs] = (await connection.script('look for lost jobs', owners, [keys.owners])) as [
    string,
    string[],
  ] &
    Reply[];
  const alive: string[] = [];
  const old: string[] = [];
  for (let index = 0; index < signs.length; index += 2) {
    const name = signs[index] ?? '';
    const silence = Number(clock) - Number(signs[index + 1]);
    if (silence <= lost) alive.push(name);
    else if (silence > 10 * lost) old.push(name);
  }
  if (old.length > 0) {
    await connection.run('forget lost owners', (client) =>
      client.zremrangebyscore(keys.owners, '-inf', Number(clock) - 10 * lost),
    );
  }
  return alive;
}
