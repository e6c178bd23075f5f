/** Locks that CLIs of a dead container have left, as the supervisor finds them at its start. */
import { existsSync, lstatSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { environmentFor, layOut } from '../../soak/berth-in-cgroup.ts';
import { testDirectory } from '../../support/directory.ts';
import { startMessagesApi } from '../../support/messages-api.ts';
import { startProgram } from '../../support/programs.ts';
import { cannotMount } from '../../support/small-volume.ts';

/** Processes of its own: whose CLIs else run on this machine is not seen, as in a container. */
const container = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child=SIGTERM'];
const skip = cannotMount;

async function prepare(t: Test) {
  const directory = testDirectory(t);
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  layOut(directory, 0);
  const config = join(directory, 'config');
  const start = (within = container) => {
    const program = startProgram('serve', {
      arguments: ['serve'],
      within,
      environment: {
        ...environmentFor(directory, api.url),
        BERTH_WARM_WORKERS: '0',
        BERTH_DRAIN_DELAY: '0s',
      },
    });
    t.teardown(async () => {
      // It passes no signal on; its end does.
      program.kill('SIGKILL');
      await program.ended;
    });
    return program;
  };
  return { config, start };
}

t.test(
  'locks of an earlier supervisor are removed before the first prompt',
  { skip },
  async (t) => {
    const { config, start } = await prepare(t);
    const locks = [
      join(config, '.oauth_refresh.lock'),
      `${config}.lock`,
      join(config, '.storage-write.lock'),
    ];
    for (const lock of locks) mkdirSync(lock);
    const [lockBirthtimeMs, legacyLockBirthtimeMs] = locks.map(
      (lock) => lstatSync(lock).birthtimeMs,
    );
    const owner = { pid: 77, lockBirthtimeMs, legacyLockBirthtimeMs };
    writeFileSync(`${locks[0]}.owner`, JSON.stringify(owner));
    await start().logged('listening');
    t.strictSame(locks.filter(existsSync), []);
    t.notOk(existsSync(`${locks[0]}.owner`));
  },
);

t.test('they stay while another CLI lives in the container', { skip }, async (t) => {
  const { config, start } = await prepare(t);
  const lock = `${config}.lock`;
  mkdirSync(lock);
  const beside = ['sh', '-c', `CLAUDE_CONFIG_DIR='${config}' sleep 600 & exec "$@"`, 'sh'];
  await start([...container, ...beside]).logged('listening');
  t.ok(existsSync(lock));
});
