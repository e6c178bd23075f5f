import t, { type Test } from 'tap';
import type { ClaudeProcess } from '../../../supervisor/claude/process.ts';
import type { CliMessage } from '../../../supervisor/claude/protocol.ts';
import { TurnWatch } from '../../../supervisor/health/turn-watch.ts';
import { until } from '../../support/until.ts';

/** The watch of a turn whose process is silent from now on. @param bound milliseconds of silence that are a hang */
function watchSilence(t: Test, bound = 100) {
  const stalls: number[] = [];
  const process = { pid: 1, lastOutput: performance.now(), timeouts: {} } as ClaudeProcess;
  const watch = new TurnWatch(
    process,
    { bound, cpuOf: async () => 0 },
    { onStall: (quiet) => stalls.push(quiet), onHelperHang: () => {} },
  );
  t.teardown(() => watch.stop());
  const retry = (delayMs: number) => watch.note({ kind: 'retry', delayMs } as CliMessage);
  return { watch, stalls, retry };
}

/** Waits until another watch, which began later and has the longer bound, reports a hang. */
async function untilOthersHang(t: Test): Promise<void> {
  const { stalls } = watchSilence(t, 300);
  await until('a turn without an excuse hangs', () => stalls.length === 1);
}

t.test(
  'a turn does not hang while a person decides, although the CLI retries a call',
  async (t) => {
    const { watch, stalls, retry } = watchSilence(t);
    const decision = Promise.withResolvers<void>();
    watch.excuseUntil(decision.promise);
    retry(1);
    await untilOthersHang(t);
    t.same(stalls, []);
    decision.resolve();
    await until('the silence after the decision is a hang', () => stalls.length === 1);
  },
);

t.test('the decision of a person does not end the wait for a retry', async (t) => {
  const { watch, stalls, retry } = watchSilence(t);
  retry(600_000);
  watch.excuseUntil(Promise.resolve());
  await untilOthersHang(t);
  t.same(stalls, []);
});
