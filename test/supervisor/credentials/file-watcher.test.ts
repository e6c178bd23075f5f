import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import chokidar, { FSWatcher } from 'chokidar';
import t, { type Test } from 'tap';
import { pause } from '../../../shared/waiting.ts';
import {
  FileWatcher,
  type FileWatcherOptions,
} from '../../../supervisor/credentials/file-watcher.ts';
import { captureLog } from '../../support/captured-log.ts';
import { until } from '../../support/until.ts';

t.jobs = 4;

const never = 3_600_000;

async function start(t: Test, options: Partial<FileWatcherOptions> = {}) {
  t.teardown(() => {});
  const directory = t.testdir({ file: 'zero' });
  const path = join(directory, 'file');
  const log = captureLog();
  const reports = { count: 0 };
  const watcher = new FileWatcher({
    ...{ directory, path, log: log.log, settle: 5, interval: never },
    onChange: () => (reports.count += 1),
    ...options,
  });
  t.teardown(() => watcher.stop());
  await watcher.start();
  const replace = (content: string): void => {
    writeFileSync(`${path}.tmp`, content);
    renameSync(`${path}.tmp`, path);
  };
  return { watcher, directory, path, log, reports, replace };
}

t.test('each replacement by a rename is reported', async (t) => {
  const { reports, replace } = await start(t);
  for (const content of ['one', 'two', 'three']) {
    const before = reports.count;
    replace(content);
    await until(`${content} is reported`, () => reports.count > before);
  }
});

t.test('a burst of changes is reported once, when it has paused', async (t) => {
  const settle = 50;
  const { watcher, reports } = await start(t, { settle });
  for (const burst of [1, 2]) {
    for (let change = 0; change < 10; change++) watcher.reportSoon();
    t.equal(reports.count, burst - 1);
    // Timers of one length end in the order of their start: this timer ends after those of the burst.
    await pause(settle);
    t.equal(reports.count, burst);
  }
});

t.test('other files of the directory are not reported', async (t) => {
  const seen: string[] = [];
  const watch: typeof chokidar.watch = (...all) => {
    const watcher = chokidar.watch(...all);
    watcher.on('all', (_event, path) => seen.push(path));
    return watcher;
  };
  const { directory, path, reports, replace } = await start(t, { watcher: watch });
  writeFileSync(join(directory, 'other'), 'x');
  t.equal(reports.count, 0);
  replace('one');
  await until('the file is reported', () => reports.count > 0);
  t.same([...new Set(seen)], [path], 'the other file was written before, and was not seen');
});

t.test('without a watcher that is ready, changes are reported at intervals', async (t) => {
  const watcher = () => new FSWatcher();
  const { log, reports } = await start(t, { watcher, readyWithin: 10, interval: 10 });
  t.match(log.lines, [{ level: 'warn', event: 'credentials_unreadable', interval_ms: 10 }]);
  await until('reports come at intervals', () => reports.count > 2);
});

t.test('a watcher that fails is logged', async (t) => {
  const failing = new FSWatcher();
  const starting = start(t, { watcher: () => failing, readyWithin: 10 });
  failing.emit('error', new Error('no watches are left'));
  const { log } = await starting;
  t.match(log.lines[0], { level: 'warn', error: { message: 'no watches are left' } });
});

t.test('nothing is reported after the stop', async (t) => {
  const { watcher, directory, path, log, reports, replace } = await start(t, {
    ...{ interval: 10, settle: 20 },
  });
  // It reports the change later than the stopped watcher would.
  const later = { count: 0 };
  const other = new FileWatcher({
    ...{ directory, path, log: log.log, settle: 40, interval: never },
    onChange: () => (later.count += 1),
  });
  t.teardown(() => other.stop());
  await other.start();
  watcher.reportSoon();
  await Promise.all([watcher.stop(), watcher.stop()]);
  const before = reports.count;
  replace('one');
  watcher.reportSoon();
  await until('another watcher reports the change', () => later.count > 0);
  t.equal(reports.count, before);
});
