import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openReserve } from '../../../shared/disk-reserve.ts';
import { DiskWatch } from '../../../supervisor/sessions/disk.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';

t.test('a measurement that ends after the stop writes nothing to the volume', async (t) => {
  for (const stops of [false, true]) {
    const directory = testDirectory(t, { [`${stops}`]: {} });
    const path = join(directory, `${stops}`);
    openReserve(path);
    const low = { bytes: 1 };
    const { log } = captureLog();
    const watch = new DiskWatch({ paths: [path], low, full: low, reserve: 1_000_000, log });
    const measured = watch.measure();
    if (stops) watch.stop();
    await measured;
    t.equal(existsSync(join(path, 'reserve')), !stops);
    watch.stop();
  }
});
