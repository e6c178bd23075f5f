/** The SQLite store keeps the contract. In memory where that is possible: the contract is not about the disk. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { silent } from '../../../../shared/log.ts';
import type { JobStore } from '../../../../supervisor/jobs/job-store.ts';
import { openJobStore } from '../../../../supervisor/jobs/sqlite/sqlite-job-store.ts';
import { ThreadClient } from '../../../../supervisor/jobs/sqlite/thread-client.ts';
import { testJobStore } from '../store-contract.ts';

const most = 104;
const root = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const client = new ThreadClient();
t.teardown(() => client.end());

testJobStore(
  t,
  async (t) => {
    const stateDirectory = mkdtempSync(join(root, 'berth-jobs-'));
    const opened: JobStore[] = [];
    t.teardown(async () => {
      for (const store of opened) await store.close();
      rmSync(stateDirectory, { recursive: true });
    });
    const open = async (): Promise<JobStore> => {
      await opened.at(-1)?.close();
      const store = await openJobStore({ stateDirectory, most, log: silent, client });
      opened.push(store);
      return store;
    };
    return { store: await open(), reopen: open };
  },
  { most },
);
