/** The store on Redis keeps the contract, on a real server. */
import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import t from 'tap';
import { silent } from '../../../../shared/log.ts';
import { Keys } from '../../../../supervisor/jobs/redis/keys.ts';
import { RedisJobStore } from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { redisServer } from '../../../support/redis-server.ts';
import { testJobStore } from '../store-contract.ts';

const most = 104;
const lostAfter = 30_000;
const server = await redisServer(t);
const redis = new Redis(server.url);
t.teardown(() => redis.disconnect());

testJobStore(
  t,
  async (t) => {
    const name = randomUUID();
    const opened: RedisJobStore[] = [];
    t.teardown(async () => {
      for (const store of opened) await store.close();
    });
    const open = async (): Promise<RedisJobStore> => {
      await opened.at(-1)?.close();
      const store = new RedisJobStore({
        ...{ url: server.url, log: silent, name, replica: 'a' },
        ...{ mostWaiting: most, ownerLost: lostAfter },
      });
      await store.open();
      opened.push(store);
      return store;
    };
    const age = async (milliseconds: number): Promise<void> => {
      const { owners } = new Keys(name);
      for (const owner of await redis.zrange(owners, 0, -1)) {
        await redis.zincrby(owners, -milliseconds, owner);
      }
    };
    return { store: await open(), reopen: open, age };
  },
  { most, lostAfter },
);
