import t from 'tap';
import { attempt } from '../../../supervisor/boot/shutdown-step.ts';
import { captureLog } from '../../support/captured-log.ts';

t.test('a step that fails is logged, and the next step runs', async (t) => {
  const log = captureLog();
  await attempt(() => Promise.reject(new Error('no room')), log.log);
  await attempt(() => {
    throw new Error('no reason');
  }, log.log);
  t.match(log.lines, [
    { event: 'failed', error: { message: 'no room' } },
    { event: 'failed', error: { message: 'no reason' } },
  ]);
});

t.test('a step that hangs is logged, and the next step runs', async (t) => {
  const log = captureLog();
  await attempt(() => new Promise(() => {}), log.log, 20);
  t.match(log.lines, [
    { event: 'failed', error: { message: 'the step takes longer than 0.02 s' } },
  ]);
  let reached = false;
  await attempt(() => {
    reached = true;
  }, log.log);
  t.ok(reached);
  t.equal(log.lines.length, 1);
});
