import t, { type Test } from 'tap';
import { timeoutsOf } from '../../../supervisor/claude/timeouts.ts';
import { boundsFor, Watchdog } from '../../../supervisor/health/watchdog.ts';

/** A watchdog whose time, output and CPU the test decides; it looks when it is told to. */
function watch(t: Test) {
  let now = 0;
  const turn = { output: 0, cpu: 0, unreadable: false, stalls: [] as number[] };
  const watchdog = new Watchdog({
    bound: 60_000,
    toolBound: 600_000,
    lastOutput: () => turn.output,
    cpu: async () => {
      if (turn.unreadable) throw new Error('no /proc');
      return turn.cpu;
    },
    onStall: (quiet) => turn.stalls.push(quiet),
    now: () => now,
  });
  t.teardown(() => watchdog.stop());
  const pass = async (seconds: number, each: () => void = () => {}): Promise<void> => {
    for (let step = 0; step < seconds; step += 5) {
      now += 5_000;
      each();
      await watchdog.sample();
    }
  };
  return { turn, watchdog, pass, now: () => now };
}

t.test('a turn without activity up to the limit is stalled and is reported once', async (t) => {
  const { turn, pass } = watch(t);
  await pass(55);
  t.same(turn.stalls, []);
  await pass(120);
  t.same(turn.stalls, [60_000]);
});

t.test('a turn that writes output or uses CPU is not stalled', async (t) => {
  const writes = watch(t);
  await writes.pass(300, () => {
    writes.turn.output = writes.now() - 1_000;
  });
  t.same(writes.turn.stalls, []);
  const works = watch(t);
  await works.pass(300, () => {
    works.turn.cpu += 500;
  });
  t.same(works.turn.stalls, []);
});

t.test('the little CPU of an idle process is no work', async (t) => {
  const { turn, pass } = watch(t);
  await pass(60, () => {
    turn.cpu += 50;
  });
  t.same(turn.stalls, [60_000]);
});

t.test('a child that ends is something that happens', async (t) => {
  const { turn, pass } = watch(t);
  turn.cpu = 9_000;
  await pass(55);
  turn.cpu = 10;
  await pass(55);
  t.same(turn.stalls, []);
});

t.test('while a tool runs silence may last longer, and no longer when it has ended', async (t) => {
  const { turn, watchdog, pass } = watch(t);
  watchdog.toolsBegun(['a', 'b']);
  await pass(300);
  watchdog.toolsEnded(['a']);
  await pass(290);
  t.same(turn.stalls, []);
  await pass(10);
  t.same(turn.stalls, [600_000], 'but not for ever');
  const ended = watch(t);
  ended.watchdog.toolsBegun(['a']);
  await ended.pass(30);
  ended.watchdog.toolsEnded(['a']);
  await ended.pass(30);
  t.same(ended.turn.stalls, [60_000]);
});

t.test('a silence that was announced counts from its end', async (t) => {
  const { turn, watchdog, pass } = watch(t);
  await pass(30);
  watchdog.excuse(120_000);
  await pass(175);
  t.same(turn.stalls, []);
  await pass(5);
  t.same(turn.stalls, [60_000]);
});

t.test(
  'an unreadable process is not stalled, and no stall is reported after the stop',
  async (t) => {
    const { turn, watchdog, pass } = watch(t);
    turn.unreadable = true;
    await pass(300);
    t.same(turn.stalls, []);
    turn.unreadable = false;
    await pass(30);
    watchdog.stop();
    await pass(300);
    t.same(turn.stalls, []);
  },
);

t.test("no turn is called hung before the CLI's own time-outs have passed", (t) => {
  const own = { bound: 180_000 };
  const boundsIn = (environment: Record<string, string>, servers = {}) =>
    boundsFor(own, timeoutsOf(environment, servers));
  const usual = { bound: 180_000, toolBound: 660_000 };
  t.same(boundsIn({}), usual);
  t.same(boundsIn({ BASH_MAX_TIMEOUT_MS: '3_600_000' }), { ...usual, toolBound: 3_660_000 });
  t.same(boundsIn({ BASH_DEFAULT_TIMEOUT_MS: '9e5' }), { ...usual, toolBound: 960_000 });
  t.same(boundsIn({ MCP_TOOL_TIMEOUT: '1200000' }), { ...usual, toolBound: 1_260_000 });
  t.same(boundsIn({}, { slow: { timeout: 1_200_000 } }), { ...usual, toolBound: 1_260_000 });
  t.same(boundsIn({ API_TIMEOUT_MS: '1200000' }), { ...usual, bound: 1_260_000 });
  t.same(boundsIn({ MCP_TIMEOUT: '300000' }), { ...usual, bound: 360_000 });
  t.same(boundsIn({ BASH_MAX_TIMEOUT_MS: '1000', API_TIMEOUT_MS: '1' }), usual, 'never less');
  const senseless = { BASH_MAX_TIMEOUT_MS: 'soon', API_TIMEOUT_MS: '-1', MCP_TIMEOUT: '' };
  t.same(boundsIn(senseless), usual);
  t.ok(boundsIn({ MCP_TIMEOUT: '1e99' }).bound < 2 ** 31, 'and a timer can wait for each');
  t.end();
});
