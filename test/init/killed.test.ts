/**
 * berth-init is killed without warning at many moments; the next run must end where an undisturbed
 * one would. `BERTH_TEST_KILLS` sets how many kills are tried.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import t from 'tap';
import { openHarbour, walk } from './fixture.ts';
import { runProgram, startProgram } from './process.ts';

const kills = Number(process.env.BERTH_TEST_KILLS ?? 6);

t.test('killed anywhere, the next run ends in the same state', async (t) => {
  const files = (generation: number) =>
    Object.fromEntries(
      Array.from({ length: 60 }, (_, index) => [
        `docs/${index % 7}/${index}.md`,
        `${index} in generation ${index % 3 === 0 ? generation : 0}\n`,
      ]),
    );
  const harbour = await openHarbour(t, files(0));
  const started = performance.now();
  await runProgram(harbour.environment());
  const whole = performance.now() - started;
  const announced = join(harbour.volume, '.berth/pending.json');
  const found: unknown[] = [];
  for (let kill = 1; kill <= kills; kill++) {
    const wanted = { ...files(kill), [`new-${kill}.md`]: 'new\n' };
    harbour.repository.commit({ ...wanted, [`new-${kill - 1}.md`]: null });
    const running = startProgram(harbour.environment());
    let over = false;
    void running.ended.then(() => {
      over = true;
    });
    // Half of the kills are spread over the whole run, half over its writing.
    if (kill % 2 === 0) await Promise.race([delay((whole * kill) / kills), running.ended]);
    else {
      while (!over && !existsSync(announced)) await setImmediate();
      await delay(kill % 30);
    }
    running.kill('SIGKILL');
    await running.ended;
    // The dead one's lease would expire by itself; lease.test.ts waits for that.
    rmSync(join(harbour.volume, '.berth/lease.json'), { force: true });
    const { code, lines } = await runProgram(harbour.environment());
    t.equal(code, 0);
    t.match(lines.at(-1), { event: 'report', conflicts: 0, drift: 0, kept: 0 }, `kill ${kill}`);
    found.push(lines.at(-1)?.volume);
    t.strictSame(harbour.tree(), wanted);
    const leftovers = walk(harbour.volume).filter((path) => path.endsWith('.tmp'));
    t.strictSame(leftovers, [], 'no temporary file is left');
    t.notOk(existsSync(announced));
  }
  t.ok(found.includes('interrupted'), `found ${found.join()}`);
});
