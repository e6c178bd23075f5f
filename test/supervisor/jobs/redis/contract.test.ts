/** The store on Redis keeps the contract, on a real server. */
import { randomUUID } from 'node:crypto';
import t from 'tap';
import { silent } from '../../../../shared/log.ts';
import { RedisJobStore } from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { cannotRunRedis, patience, redisServer } from '../../../support/redis-server.ts';
import { testJobStore } from '../store-contract.ts';

const most = 104;
const lostAfter = 30_000;

t.test('the job store on Redis keeps the contract', { skip: cannotRunRedis() }, async (t) => {
  const server = await redisServer(t);
  testJobStore(
    t,
    async (t) => {
      const name = randomUUID();
      const opened: RedisJobStore[] = [];
      let elapsed = 0;
      t.teardown(async () => {
        for (const store of opened) await store.close();
      });
      const open = async (): Promise<RedisJobStore> => {
        await opened.at(-1)?.close();
        const store = new RedisJobStore({
          ...{ url: server.url, log: silent, name, replica: 'a', deadline: patience },
          ...{ mostWaiting: most, ownerLost: lostAfter },
          elapsed: () => elapsed,
        });
        await store.open();
        opened.push(store);
        return store;
      };
      const age = async (milliseconds: number): Promise<void> => {
        for (let passed = 0; passed < milliseconds; passed += 5_000) {
          elapsed += 5_000;
          await opened.at(-1)?.keepAlive('who watches');
        }
      };
      return { store: await open(), reopen: open, age };
    },
    { most, lostAfter },
  );
});
