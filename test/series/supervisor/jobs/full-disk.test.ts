/** Jobs that are parked for a full disk, by the API, with the scripted CLI, a real git and small volumes. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { code, openSupervised } from '../../../supervisor/workspaces/supervised.ts';
import { makeSurroundings } from '../../../support/claude.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';
import { type RunningSupervisor, startSupervisor } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

const skip = cannotMount;

type Call = RunningSupervisor['call'];

async function addJob(call: Call, body: Record<string, unknown>): Promise<string> {
  return `/v1/jobs/${(await call('POST', '/v1/jobs', { body })).body.id}`;
}

const parked = (call: Call, path: string) =>
  until('the job is parked', async () => {
    const { body } = await call('GET', path);
    return body.state === 'parked' && body;
  });

t.test(
  'a job whose checkout does not fit waits for its time, although no disk counts as full',
  { skip },
  async (t) => {
    const { call, workshop, surroundings, log } = await openSupervised(t);
    workshop.scene.app.commit({ noise: randomBytes(700_000) });
    const mirrors = join(surroundings.workspace, 'mirrors');
    mkdirSync(mirrors, { recursive: true });
    using _ = mountSmall(mirrors, 'size=500k');
    const job = await addJob(call, { prompt: '[[say it fits]]', ...code });
    const { parked: reason } = await parked(call, job);
    t.match(reason, { reason: 'disk_full' });
    // The runner has looked for what has ended once more, every 5 s, before this job is due.
    const later = await addJob(call, { prompt: '[[say later]]', delay: '6s' });
    t.match((await call('GET', `${later}?wait=60s`)).body, { state: 'succeeded' });
    const { body } = await call('GET', job);
    t.match(body, { state: 'parked', attempts: [] });
    t.equal(log.count('job_parked'), 1, 'the checkout was not tried again');
  },
);

t.test(
  'a job that waits for a full disk goes on when there is room, also after a restart',
  { skip },
  async (t) => {
    const surroundings = await makeSurroundings(t);
    using _ = mountSmall(surroundings.config, 'size=200m');
    const settings = { BERTH_DISK_LOW: '1Mi', BERTH_DISK_FULL: '16Mi', BERTH_DISK_RESERVE: '0' };
    const fill = join(surroundings.config, 'fill');
    const first = await startSupervisor(t, { surroundings, settings });
    writeFileSync(fill, Buffer.alloc(190 * 1024 ** 2));
    await first.log.logged('disk_full');
    const job = await addJob(first.call, { prompt: '[[say there is room]]' });
    t.match(await parked(first.call, job), { parked: { reason: 'disk_full' } });
    await first.supervisor.stop();
    const { call, prompt } = await startSupervisor(t, { surroundings, settings });
    t.match(await prompt('[[say no]]'), { status: 507 });
    t.match((await call('GET', job)).body, { state: 'parked' });
    rmSync(fill);
    t.match((await call('GET', `${job}?wait=60s`)).body, { result: { result: 'there is room' } });
  },
);
