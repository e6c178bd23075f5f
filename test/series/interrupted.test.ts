/** Runs that were cut short on their way from one commit to another, when upstream is already further. */
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openHarbour } from '../init/fixture.ts';
import { runProgram } from '../init/process.ts';

const preload = new URL('../support/kill-at-change.ts', import.meta.url).href;
const one = { 'a.md': 'a one\n', 'b.md': 'b one\n', 'settings.json': '{"one":1}\n' };
const two = {
  'a.md': 'a two\n',
  'b.md': 'b two\n',
  'settings.json': '{"two":2}\n',
  'new.md': 'n\n',
};

/** A volume on which a run to `two` wrote all files and was killed before it could say so. */
async function interrupt(t: Test) {
  const harbour = await openHarbour(t, one);
  const state = join(harbour.volume, '.berth');
  await harbour.run();
  copyFileSync(join(state, 'applied.json'), join(state, 'one.json'));
  harbour.repository.commit(two);
  await harbour.run();
  renameSync(join(state, 'applied.json'), join(state, 'pending.json'));
  renameSync(join(state, 'one.json'), join(state, 'applied.json'));
  return { harbour, state };
}

/** Upstream moves on to `three`; the next run takes nothing on the volume for an edit, and completes it. */
async function endsAt(
  t: Test,
  harbour: Awaited<ReturnType<typeof openHarbour>>,
  three: Record<string, string>,
  volume: string,
) {
  harbour.repository.commit({ ...three, 'new.md': null });
  t.match(await harbour.run(), { volume, conflicts: 0, drift: 0, kept: 0, merged: 0 });
  t.strictSame(harbour.tree(), three);
  t.match(await harbour.run(), { volume: 'complete', written: 0 });
}

t.test(
  'files of an interrupted run do not count as edits after upstream has changed',
  async (t) => {
    const { harbour } = await interrupt(t);
    await endsAt(t, harbour, { ...one, 'b.md': 'b three\n' }, 'interrupted');
  },
);

t.test(
  'files of two interrupted runs do not count as edits, whichever change the second kill hits',
  async (t) => {
    t.setTimeout(300_000);
    const three = { ...one, 'b.md': 'b three\n' };
    const NODE_OPTIONS = `--import=${preload}`;
    let announced = 0;
    let changes = 0;
    // The first time through it is only counted.
    for (const share of [1, 0.6, 0.8]) {
      const { harbour, state } = await interrupt(t);
      const change = Math.round(share * changes);
      harbour.repository.commit({ ...three, 'new.md': null });
      const before = readFileSync(join(state, 'pending.json'), 'utf8');
      const counter = join(harbour.directory, 'changes');
      const what: Record<string, string> =
        changes === 0 ? { COUNT_CHANGES_TO: counter } : { KILL_AT_CHANGE: `${change}` };
      const { signal } = await runProgram(harbour.environment({ NODE_OPTIONS, ...what }));
      if (changes === 0) changes = Number(readFileSync(counter, 'utf8'));
      else t.equal(signal, 'SIGKILL', `at ${change} of ${changes}`);
      const pending = join(state, 'pending.json');
      if (existsSync(pending) && readFileSync(pending, 'utf8') !== before) announced += 1;
      t.match(await harbour.run(), { conflicts: 0, drift: 0, kept: 0, merged: 0 }, `at ${change}`);
      t.strictSame(harbour.tree(), three, `at ${change}`);
    }
    t.ok(announced > 0, 'some kills came between the announcement and the end');
  },
);

t.test('an edit made before it is not lost on the way', async (t) => {
  const harbour = await openHarbour(t, { 'notes.md': 'a\n\nb\n\nc\n' });
  const state = join(harbour.volume, '.berth');
  await harbour.run();
  writeFileSync(join(harbour.volume, 'notes.md'), 'mine\n\nb\n\nc\n');
  copyFileSync(join(state, 'applied.json'), join(state, 'one.json'));
  harbour.repository.commit({ 'notes.md': 'a\n\nb\n\ntwo\n' });
  await harbour.run();
  t.equal(harbour.read('notes.md'), 'mine\n\nb\n\ntwo\n');
  renameSync(join(state, 'one.json'), join(state, 'applied.json'));
  harbour.repository.commit({ 'notes.md': 'a\n\nthree\n\ntwo\n' });
  await harbour.run();
  t.match(harbour.read('notes.md'), /^mine\n\nthree\n\ntwo\n$/);
});

t.test(
  'with a damaged pending.json, init recognises the files of the interrupted run by the fetched commit',
  async (t) => {
    const three = { ...one, 'a.md': 'a three\n', 'settings.json': '{"three":3}\n' };
    for (const garbage of ['', '{', '\0'.repeat(100)]) {
      const { harbour, state } = await interrupt(t);
      writeFileSync(join(state, 'pending.json'), garbage);
      await endsAt(t, harbour, three, 'damaged_record');
    }
  },
);

t.test(
  'without pending.json and git objects, files of an interrupted run are saved as edits',
  async (t) => {
    const { harbour, state } = await interrupt(t);
    writeFileSync(join(state, 'pending.json'), '{');
    rmSync(join(state, 'git'), { recursive: true });
    harbour.repository.commit({ 'a.md': 'a three\n' });
    t.match(await harbour.run(), { volume: 'damaged_record', conflicts: 1 });
    t.equal(harbour.read('a.md'), 'a three\n');
    t.strictSame(harbour.conflicts(), ['a.md'], 'nothing is lost');
  },
);
