import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import t from 'tap';
import { makeWebhookSecret } from '../../../../supervisor/jobs/callbacks/webhook-secrets.ts';
import { openJobStore } from '../../../../supervisor/jobs/sqlite/sqlite-job-store.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { testDirectory } from '../../../support/directory.ts';
import { endedJob } from '../../../support/ended-job.ts';
import { until } from '../../../support/until.ts';
import { openReceiver, status } from '../../../support/webhook-receiver.ts';

t.test('a supervisor that is killed during a request sends it again under one id', async (t) => {
  const stateDirectory = testDirectory(t, {});
  const secretFile = join(stateDirectory, 'secret');
  const secret = makeWebhookSecret();
  writeFileSync(secretFile, secret);
  const receiver = await openReceiver(t, () => {}, status(204));
  const open = () => openJobStore({ stateDirectory, most: 10, log: captureLog().log });
  const job = endedJob(receiver.url, Date.now());
  const store = await open();
  await store.add(job);
  await store.close();
  const deliver = (late: string) =>
    spawn(
      process.execPath,
      [
        join(import.meta.dirname, '../../../support/deliver-callbacks.ts'),
        stateDirectory,
        secretFile,
        late,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
  const kill = async (child: ChildProcess) => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  const first = deliver('0');
  await until('the first request arrives', () => receiver.received.length === 1);
  await kill(first);
  // The claim of the killed process has ended a minute later.
  const second = deliver('60000');
  t.teardown(() => second.kill('SIGKILL'));
  const [outcome] = await once(second.stdout, 'data');
  t.equal(String(outcome), 'delivered\n');
  await kill(second);
  const after = await open();
  t.match((await after.read(job.id))?.callback, { state: 'delivered', attempts: 1 });
  await after.close();
  const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
  t.equal(new Set(ids).size, 1);
  for (const { body, headers } of receiver.received)
    t.ok(new Webhook(secret).verify(body, headers));
});
