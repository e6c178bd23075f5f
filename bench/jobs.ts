/**
 * Measures jobs with a stand-in for the CLI that answers in 0 ms, on both stores: how long it takes to accept a job, how
 * much slower a job is than the same prompt, jobs a second, and what 10,000 queued jobs cost. Beside them, in the same run:
 * plain `/v1/prompts`, and BullMQ alone on the same Redis, whose file is flushed before each answer. All of them take turns.
 * `npm run bench:jobs`; it needs `redis-server`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRedisServer } from '../test/support/redis-server.ts';
import { startBerth } from './berth.ts';
import { BullMqAlone } from './jobs-bullmq.ts';
import { acceptsJobs } from './jobs-calls.ts';
import { measureLatency } from './jobs-latency.ts';
import { measureQueue, queueSettings } from './jobs-queue.ts';
import { measureRates } from './jobs-rate.ts';
import { type Figure, report } from './report.ts';

const standIn = join(import.meta.dirname, '../test/support/fixtures/claude-that-answers.mjs');

const settings = {
  BERTH_CLAUDE_PATH: standIn,
  BERTH_MAX_WORKERS: '4',
  BERTH_WARM_WORKERS: '0',
  BERTH_DRAIN: '0s',
  // The benchmark waits for the line that the server listens, which has this level.
  BERTH_LOG_LEVEL: 'info',
};

const directory = mkdtempSync(join(tmpdir(), 'berth-bench-jobs-'));

async function measureEach(redis: string): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const berths = new Map([
    ['embedded', await startBerth(join(directory, 'embedded'), settings, cleanup)],
    [
      'Redis',
      await startBerth(join(directory, 'redis'), { ...settings, BERTH_REDIS_URL: redis }, cleanup),
    ],
  ]);
  for (const berth of berths.values()) await acceptsJobs(berth);
  const bullMq = await BullMqAlone.start(join(directory, 'alone'), standIn, redis, cleanup);
  return [...(await measureLatency(berths, bullMq)), ...(await measureRates(berths, bullMq))];
}

async function measureQueued(store: string, redis?: string): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const start = (name: string) =>
    startBerth(
      join(directory, `${store}-${name}`),
      {
        ...{ ...settings, ...queueSettings },
        ...(redis ? { BERTH_REDIS_URL: redis, BERTH_REDIS_PREFIX: name } : {}),
      },
      cleanup,
    );
  return await measureQueue(store, await start('without'), await start('beside'));
}

const redis = await startRedisServer();
try {
  const figures = [
    ...(await measureEach(redis.url)),
    ...(await measureQueued('embedded')),
    ...(await measureQueued('Redis', redis.url)),
  ];
  report('Jobs', figures);
} finally {
  await redis.close();
  rmSync(directory, { recursive: true, force: true });
}
