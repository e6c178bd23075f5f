import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import type { CliMessage } from '../../../supervisor/claude/protocol.ts';
import { TurnWatch } from '../../../supervisor/health/turn-watch.ts';
import { until } from '../../support/until.ts';

/** The watch of a turn whose process is silent from now on; 100 ms of silence are a hang. */
function watchSilence(t: Test) {
  const stalls: number[] = [];
  const process = { pid: 1, lastOutput: performance.now(), timeouts: {} } as ClaudeProcess;
  const watch = new TurnWatch(
    process,
    { bound: 100, cpuOf: async () => 0 },
    { onStall: (quiet) => stalls.push(quiet), onHelperHang: () => {} },
  );
  t.teardown(() => watch.stop());
  const retry = (delayMs: number) => watch.note({ kind: 'retry', delayMs } as CliMessage);
  return { watch, stalls, retry };
}

t.test(
  'a turn does not hang while a person decides, although the CLI retries a call',
  async (t) => {
    const { watch, stalls, retry } = watchSilence(t);
    const decision = Promise.withResolvers<void>();
    watch.excuseUntil(decision.promise);
    retry(1);
    await delay(400);
    t.same(stalls, []);
    decision.resolve();
    await until('the silence after the decision is a hang', () => stalls.length === 1);
  },
);

t.test('the decision of a person does not end the wait for a retry', async (t) => {
  const { watch, stalls, retry } = watchSilence(t);
  retry(600_000);
  watch.excuseUntil(Promise.resolve());
  await delay(400);
  t.same(stalls, []);
});
