import { mkdirSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DirectoryWatches } from '../../../supervisor/configuration/directory-watches.ts';
import { testDirectory } from '../../support/directory.ts';
import { until } from '../../support/until.ts';

function watchIn(t: Test) {
  const root = testDirectory(t, { skills: {}, agents: {} });
  const events: string[] = [];
  const watches = new DirectoryWatches(root, (directory, name) => {
    events.push(`${directory}/${name}`);
  });
  t.teardown(() => watches.close());
  return { root, events, watches };
}

t.test(
  'the root and directories below it are watched, absent directories are left out',
  async (t) => {
    const { root, events, watches } = watchIn(t);
    t.ok(watches.set(['', 'skills', 'absent']), 'new directories are watched');
    t.notOk(watches.set(['', 'skills', 'absent']), 'nothing is new');
    t.same([watches.has(''), watches.has('skills'), watches.has('absent')], [true, true, false]);
    writeFileSync(join(root, 'skills/a'), '');
    writeFileSync(join(root, 'settings.json'), '');
    await until(
      'both events came',
      () => events.includes('skills/a') && events.includes('/settings.json'),
    );
  },
);

t.test('a directory that is not wanted any more is no longer watched', async (t) => {
  const { watches } = watchIn(t);
  watches.set(['skills', 'agents']);
  watches.set(['agents']);
  t.same([watches.has('skills'), watches.has('agents')], [false, true]);
});

t.test('a replaced directory is watched again', async (t) => {
  const { root, events, watches } = watchIn(t);
  watches.set(['skills']);
  renameSync(join(root, 'skills'), join(root, 'before'));
  mkdirSync(join(root, 'skills'));
  t.ok(watches.set(['skills']));
  writeFileSync(join(root, 'skills/b'), '');
  await until('the event came', () => events.includes('skills/b'));
});

t.test(
  'a directory that was removed and made again is watched, also with the same inode',
  async (t) => {
    const { root, events, watches } = watchIn(t);
    watches.set(['skills']);
    rmdirSync(join(root, 'skills'));
    mkdirSync(join(root, 'skills'));
    await until('its end is seen', () => !watches.has('skills'));
    t.ok(watches.set(['skills']));
    writeFileSync(join(root, 'skills/c'), '');
    await until('the event came', () => events.includes('skills/c'));
  },
);
