/** init is killed while the volume goes back to the last good commit, and starts again. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { openHarbour } from '../../init/fixture.ts';
import { joinAs, startSync } from '../../init/sync/fixture.ts';
import { until } from '../../support/until.ts';

const files = { 'CLAUDE.md': 'one\n', 'skills/a/SKILL.md': 'one\n', 'settings.json': '{}\n' };
const badFiles = { 'CLAUDE.md': 'bad\n', 'skills/a/SKILL.md': 'bad\n', 'new.md': 'x' };
const support = join(import.meta.dirname, '../../support');
const samples = 6;

t.test(
  'wherever init is killed, the volume has one whole commit after the next start',
  async (t) => {
    const harbour = await openHarbour(t, files);
    const { volume } = harbour;
    const first = await startSync(t, harbour);
    const { lease, peer } = await joinAs(harbour);
    const good = harbour.repository.head();
    peer.send({ kind: 'verdict', commit: good, good: true });
    const bad = harbour.repository.commit(badFiles);
    first.sync.wake();
    await until('the bad commit is there', () => harbour.read('new.md') === 'x');
    await until('it is whole', () => !existsSync(join(volume, '.berth/pending.json')));
    await lease.release();
    await first.end();
    const before = join(harbour.directory, 'before');
    cpSync(volume, before, { recursive: true, preserveTimestamps: true });

    const run = async (variables: Record<string, string>) => {
      rmSync(volume, { recursive: true });
      cpSync(before, volume, { recursive: true, preserveTimestamps: true });
      const given = JSON.stringify(harbour.environment({ BERTH_SYNC_INTERVAL: '1h' }));
      const preload = `--import=${pathToFileURL(join(support, 'kill-at-change.ts'))}`;
      const child = spawn(process.execPath, [preload, join(support, 'roll-back.ts'), given], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...process.env, ...variables },
      });
      const [code, signal] = await once(child, 'exit');
      return signal ?? code;
    };
    const counted = join(harbour.directory, 'changes');
    t.equal(await run({ COUNT_CHANGES_TO: counted }), 0);
    t.same(harbour.tree(), files);
    const changes = Number(readFileSync(counted, 'utf8'));
    // The changes before the verdict are those of a start, which other tests kill.
    let wentBack = 0;
    for (let sample = 1; sample <= samples; sample++) {
      const at = Math.round(changes * (0.4 + (0.6 * sample) / (samples + 1)));
      t.equal(await run({ KILL_AT_CHANGE: String(at) }), 'SIGKILL');
      const isRecorded = readFileSync(
        join(volume, '.berth/received-commits.json'),
        'utf8',
      ).includes('"bad"');
      const { registry, end } = await startSync(t, harbour);
      t.same(harbour.tree(), isRecorded ? files : { ...files, ...badFiles }, `killed at ${at}`);
      const text = await registry.metrics();
      t.equal(text.includes(`commit="${bad}",last_good_commit="${good}"} 1`), isRecorded);
      await end();
      wentBack += Number(isRecorded);
    }
    t.ok(wentBack >= 2, 'some kills came behind the record');
  },
);
