/** Adds jobs to the store of a directory until it is killed, several at once, and prints the id of each accepted job. */
import { randomUUID } from 'node:crypto';
import { silent } from '../../../../shared/log.ts';
import { openJobStore } from '../../../../supervisor/jobs/sqlite/sqlite-job-store.ts';
import { sampleJob } from '../../../support/stored-job.ts';

const [stateDirectory = ''] = process.argv.slice(2);
const store = await openJobStore({ stateDirectory, most: 100_000, log: silent });

async function addForever(): Promise<never> {
  for (;;) {
    const job = sampleJob({ id: `job_${randomUUID()}`, request: { prompt: 'x'.repeat(2_000) } });
    await store.add(job);
    process.stdout.write(`${job.id}\n`);
  }
}

await Promise.all([addForever(), addForever(), addForever()]);
