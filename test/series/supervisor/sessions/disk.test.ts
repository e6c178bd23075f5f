import { execFileSync } from 'node:child_process';
import { linkSync, rmSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { mountPoints } from '../../../../supervisor/memory/mounts.ts';
import { DiskWatch } from '../../../../supervisor/sessions/disk.ts';
import { DiskUsage } from '../../../../supervisor/sessions/disk-usage.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { makeSurroundings } from '../../../support/claude.ts';
import { testDirectory } from '../../../support/directory.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';
import { startSupervisor } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

const skip = cannotMount;

const mib = 1024 ** 2;

function bind(from: string, to: string): Disposable {
  execFileSync('mount', ['--bind', from, to]);
  return { [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', to]) };
}

t.test(
  'a disk that becomes low and then full is logged once for each level',
  { skip },
  async (t) => {
    const directory = testDirectory(t, { volume: {} });
    const volume = join(directory, 'volume');
    using _ = mountSmall(volume, 'size=10m');
    const log = captureLog();
    const watch = new DiskWatch({
      paths: [volume, join(directory, 'nowhere')],
      low: { share: 0.5 },
      full: { bytes: 64 * mib },
      log: log.log,
    });
    await watch.measure();
    t.match(watch.readings, [{ path: volume, total: 10 * mib, level: 'ok' }]);
    writeFileSync(join(volume, 'one'), Buffer.alloc(6 * mib));
    for (const _ of [1, 2]) await watch.measure();
    t.equal(watch.level, 'low');
    t.equal(log.count('disk_low'), 1);
    await watch.assertRoom();
    writeFileSync(join(volume, 'two'), Buffer.alloc(3.5 * mib));
    for (const _ of [1, 2]) await watch.measure();
    t.equal(watch.level, 'full', 'a size counts for a tenth of a small volume');
    t.equal(log.count('disk_full'), 1);
    await t.rejects(watch.assertRoom(), {
      code: 'disk_full',
      message:
        /^cannot start a session: only .* are free at .*; enlarge it, free space there, remove sessions/,
    });
    rmSync(join(volume, 'two'));
    await watch.assertRoom();
    t.equal(watch.level, 'low', 'it has looked again');
    rmSync(join(volume, 'one'));
    await watch.measure();
    t.equal(log.count('disk_recovered'), 1);
  },
);

t.test('a disk without inodes is full as well', { skip }, async (t) => {
  const volume = join(testDirectory(t, { volume: {} }), 'volume');
  using _ = mountSmall(volume, 'size=10m,nr_inodes=20');
  for (let file = 0; file < 19; file++) writeFileSync(join(volume, `${file}`), '');
  const { log } = captureLog();
  const watch = new DiskWatch({ paths: [volume], low: { bytes: 1 }, full: { bytes: 1 }, log });
  await watch.measure();
  await t.rejects(watch.assertRoom(), { code: 'disk_full', message: /hardly any inodes/ });
});

t.test(
  'the files in a directory count against the limit of that directory',
  { skip },
  async (t) => {
    const directory = testDirectory(t, { tmp: { deep: { er: {} }, inner: {} }, elsewhere: {} });
    const tmp = join(directory, 'tmp');
    symlinkSync(join(directory, 'elsewhere'), join(tmp, 'link'));
    writeFileSync(join(directory, 'elsewhere/large'), Buffer.alloc(6 * mib));
    // The device of a bind mount is the same: as the volume is mounted within the home.
    using _ = bind(join(directory, 'elsewhere'), join(tmp, 'inner'));
    const { log, count } = captureLog();
    const watch = new DiskWatch({
      paths: [],
      limits: new Map([
        [tmp, 4 * mib],
        [join(directory, 'nowhere'), mib],
      ]),
      mountPoints,
      low: { share: 0.3 },
      full: { bytes: 64 * mib },
      log,
    });
    await watch.measure();
    t.match(watch.readings, [{ path: tmp, total: 4 * mib, level: 'ok' }]);
    t.equal(watch.readings.length, 1);
    const file = join(tmp, 'deep/er/file');
    writeFileSync(file, Buffer.alloc(3 * mib));
    linkSync(file, join(tmp, 'again'));
    await until('it is low', async () => {
      await watch.measure();
      return watch.level === 'low';
    });
    const [{ free } = { free: 0 }] = watch.readings;
    t.ok(free > 0.9 * mib && free < mib, 'a file with two names is counted once');
    t.equal(count('disk_low'), 1);
    writeFileSync(join(tmp, 'deep/more'), Buffer.alloc(mib));
    await until('it is full', async () => {
      await watch.measure();
      return watch.level === 'full';
    });
    await t.rejects(watch.assertRoom(), { code: 'disk_full', details: { path: tmp } });
  },
);

t.test('a run that ends does not go on counting', async (t) => {
  const directory = testDirectory(t, { file: 'x' });
  const options = { path: directory, mountPoints: async () => new Set<string>() };
  t.equal(await new DiskUsage({ ...options, signal: AbortSignal.abort() }).bytes(), undefined);
  t.ok(await new DiskUsage({ ...options, signal: new AbortController().signal }).bytes());
});

t.test(
  'on a full disk, no new session starts, and existing sessions continue',
  { skip },
  async (t) => {
    const surroundings = await makeSurroundings(t);
    using _ = mountSmall(surroundings.config, 'size=200m');
    const { supervisor, prompt, call, log, metricsUrl } = await startSupervisor(t, {
      surroundings,
      settings: { BERTH_DISK_LOW: '1Mi', BERTH_DISK_FULL: '64Mi' },
    });
    const { session_id } = (await prompt('[[say one]]')).body;
    const large = join(surroundings.config, 'large');
    const { bavail, bsize } = statfsSync(surroundings.config);
    writeFileSync(large, Buffer.alloc(bavail * bsize - 12 * mib));
    await log.logged('disk_full');
    const refused = await prompt('[[say two]]');
    t.match(refused, { status: 507, body: { code: 'disk_full', retryable: true } });
    const continues = await prompt('[[say on]]', { session_id });
    t.match(continues, { status: 200, body: { result: 'on' } });
    const { disk } = (await call('GET', '/v1/status')).body;
    t.match(disk, { level: 'full', volumes: [{ path: surroundings.config, level: 'full' }, {}] });
    const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
    t.match(metrics, /berth_disk_free_bytes\{path=".*config"\} \d+/);
    t.match(metrics, /berth_disk_level\{path=".*config"\} 2/);
    rmSync(large);
    t.match(await prompt('[[say three]]'), { status: 200 }, 'at once when there is room again');
    await supervisor.stop();
  },
);
