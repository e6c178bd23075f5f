/**
 * A volume that is used up: nothing is lost without a word, and the remedy can be used. What becomes of a turn, and a start
 * on a volume that was full, are the real CLI's. Only the session before such a start is the scripted CLI's.
 */
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeSurroundings } from '../../../support/claude.ts';
import { promptText } from '../../../support/messages-api.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';
import { startSupervisor, startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

const skip = cannotMount;

const settings = { BERTH_DISK_LOW: '1Mi', BERTH_DISK_FULL: '8Mi' };

/** Until not one byte more can be written. */
function fill(directory: string): void {
  for (const bytes of [4 * 1024 ** 2, 65_536, 4_096, 1]) {
    try {
      for (let file = 0; ; file++) {
        writeFileSync(join(directory, `fill-${bytes}-${file}`), Buffer.alloc(bytes, 1));
      }
    } catch {
      // No more of that size.
    }
  }
}

function makeRoom(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (name.startsWith('fill-')) rmSync(join(directory, name));
  }
}

t.test('a server that starts on a full volume can make room', { skip }, async (t) => {
  const surroundings = await makeSurroundings(t);
  using _ = mountSmall(surroundings.config, 'size=96m');
  const first = await startSupervisor(t, { surroundings, settings });
  const { session_id } = (await first.prompt('[[say one]]')).body;
  const reserve = join(surroundings.config, '.berth/reserve');
  t.ok(existsSync(reserve));
  await first.supervisor.stop();
  fill(surroundings.config);
  const { prompt, call, supervisor, log } = await startWithRealCli(t, {
    surroundings,
    settings,
  });
  t.notOk(existsSync(reserve), 'it was given up');
  const full = { status: 507, body: { code: 'disk_full', retryable: true } };
  t.match(await prompt('[[say two]]'), full);
  t.match(await prompt('[[say on]]', { session_id }), full);
  t.match(await call('POST', '/v1/pause', { body: { reason: 'full' } }), { status: 200 });
  t.match(await call('POST', '/v1/resume'), { status: 200 });
  t.match(await call('DELETE', `/v1/sessions/${session_id}`), { status: 204 });
  makeRoom(surroundings.config);
  t.match(await prompt('[[say three]]'), { status: 200, body: { result: 'three' } });
  await until('there is a reserve again', () => existsSync(reserve));
  t.equal(log.count('turn_unkept'), 0);
  await supervisor.stop();
});

t.test('a turn that the volume did not take is answered with a warning', { skip }, async (t) => {
  const surroundings = await makeSurroundings(t);
  using _ = mountSmall(surroundings.config, 'size=96m');
  const { prompt, supervisor, log, metricsUrl } = await startWithRealCli(t, {
    surroundings,
    settings: { ...settings, BERTH_DISK_RESERVE: '0' },
  });
  const { session_id, warnings } = (await prompt('[[say one]]')).body;
  t.same(warnings, []);
  const answer = prompt('[[slow 200]] [[big 30000]]', { session_id });
  await surroundings.api.waitForRequest((request) => /slow 200/.test(promptText(request) ?? ''));
  fill(surroundings.config);
  t.match(await answer, {
    status: 200,
    body: { session_id, warnings: [/not in the session's transcript: the volume is full/] },
  });
  t.match(await log.logged('turn_unkept'), { level: 'error', session_id });
  const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
  t.match(metrics, /^berth_turns_unkept_total 1$/m);
  makeRoom(surroundings.config);
  await supervisor.stop();
});
