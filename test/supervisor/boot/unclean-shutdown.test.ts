import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ShutdownMarker, shutdownMarkerFile } from '../../../supervisor/boot/unclean-shutdown.ts';
import { captureLog } from '../../support/captured-log.ts';
import { makeSurroundings } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';
import { cannotMount, mountSmall } from '../../support/small-volume.ts';
import { startSupervisor } from '../../support/supervisor.ts';

const skip = cannotMount;

t.test('each run reports whether the previous run ended without a shutdown', async (t) => {
  const surroundings = await makeSurroundings(t);
  const mark = join(surroundings.config, '.berth/running.json');
  const run = async () => {
    const { supervisor, log, metricsUrl } = await startSupervisor(t, { surroundings });
    const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
    const content = readFileSync(mark, 'utf8');
    await supervisor.stop();
    const [, seen] = /^berth_unclean_end_timestamp_seconds (\S+)$/m.exec(metrics) ?? [];
    return { seen: Number(seen), told: log.count('unclean_end'), content };
  };
  const { content, ...first } = await run();
  t.same(first, { seen: Number.NaN, told: 0 });
  t.match(await run(), { seen: Number.NaN, told: 0 }, 'it stopped');

  // As a SIGKILL leaves it.
  writeFileSync(mark, content);
  const began = Date.now() / 1_000;
  const after = await run();
  t.equal(after.told, 1);
  t.ok(after.seen >= began - 1 && after.seen <= Date.now() / 1_000, String(after.seen));
  t.match(await run(), { seen: Number.NaN, told: 0 });

  writeFileSync(mark, '\u001b[31m not ours');
  t.match(await run(), { told: 1 }, 'whatever is in it');
});

t.test('a mark of the run before goes with a run on a full disk too', { skip }, async (t) => {
  const directory = testDirectory(t, {});
  using _ = mountSmall(directory, 'size=16k');
  const path = join(directory, shutdownMarkerFile);
  writeFileSync(path, 'left');
  try {
    for (;;) writeFileSync(join(directory, 'ballast'), Buffer.alloc(4096), { flag: 'a' });
  } catch {}
  const log = captureLog();
  const mark = new ShutdownMarker(directory, log.log);
  await mark.set();
  t.equal(log.count('run_mark_failed'), 1);
  t.equal(readFileSync(path, 'utf8'), 'left');
  await mark.clear();
  t.notOk(existsSync(path));
});
