import t from 'tap';
import { UsageWatch } from '../../../supervisor/spending/usage-watch.ts';
import { UsageWindows } from '../../../supervisor/spending/usage-windows.ts';
import { captureLog } from '../../support/captured-log.ts';

const minute = 60_000;

function watching() {
  const state = {
    ...{ now: Date.parse('2026-03-02T08:00:00Z'), wanted: true, asked: 0, fails: false },
    account: new AbortController(),
    beforeAnswer: () => {},
  };
  const windows = new UsageWindows(() => state.now);
  const watch = new UsageWatch({
    windows,
    login: 'default',
    wanted: () => state.wanted,
    replacementSignal: () => state.account.signal,
    query: async () => {
      state.asked += 1;
      state.beforeAnswer();
      if (state.fails) throw new Error('no answer');
      return { five_hour: { utilization: 0.4 }, unknown: { utilization: 1 } };
    },
    log: captureLog().log,
    now: () => state.now,
  });
  /** Looks each minute. @returns the questions in that time */
  const pass = async (minutes: number): Promise<number> => {
    const before = state.asked;
    for (let count = 0; count < minutes; count += 1) {
      await watch.check();
      state.now += minute;
    }
    return state.asked - before;
  };
  return { state, windows, watch, pass };
}

t.test('the usage is requested at most once in ten minutes', async (t) => {
  const { windows, pass } = watching();
  t.equal(await pass(60), 6);
  t.match(windows.of('default'), [{ name: 'five_hour', used: 0.4 }]);
  t.equal(windows.of('default')?.length, 1);
});

t.test('no usage is requested while the figures are new or not needed', async (t) => {
  const { state, windows, pass } = watching();
  windows.heard('default', { seven_day: { used: 0.1, resetsAt: undefined } });
  t.equal(await pass(10), 0);
  state.wanted = false;
  t.equal(await pass(60), 0);
  state.wanted = true;
  t.equal(await pass(1), 1);
});

t.test('without an answer the pauses grow up to two hours, and an answer ends that', async (t) => {
  const { state, pass } = watching();
  state.fails = true;
  t.equal(await pass(10 * 60), 7, 'after 0, 20, 60, 140, 260 ... minutes');
  state.fails = false;
  t.equal(await pass(180), 16);
});

t.test('two checks at once send one request', async (t) => {
  const { state, watch } = watching();
  await Promise.all([watch.check(), watch.check()]);
  await watch.stop();
  t.equal(state.asked, 1);
});

t.test('an answer about an account that was replaced meanwhile is dropped', async (t) => {
  const { state, windows, pass } = watching();
  state.beforeAnswer = () => {
    state.account.abort();
    state.account = new AbortController();
    state.beforeAnswer = () => {};
  };
  t.equal(await pass(1), 1);
  t.equal(windows.of('default'), undefined);
  t.equal(await pass(1), 1, 'the new account is asked about soon');
  t.match(windows.of('default'), [{ name: 'five_hour', used: 0.4 }]);
});
