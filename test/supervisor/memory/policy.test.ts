import fc from 'fast-check';
import t, { type Test } from 'tap';
import { Growth } from '../../../supervisor/memory/growth.ts';
import {
  type Action,
  decide,
  initialState,
  type State,
} from '../../../supervisor/memory/policy.ts';
import {
  type Bounds,
  boundsOf,
  boundsOfWorker,
  hasWarmedUp,
  type Reading,
  type WorkerReading,
} from '../../../supervisor/memory/reading.ts';

const bounds: Bounds = {
  soft: 700,
  hard: 850,
  workerSoft: 500,
  workerHard: 700,
  workerProcesses: 2_000,
};

const worker = (name: string, rest: Partial<WorkerReading> = {}): WorkerReading => ({
  name,
  stage: 'idle',
  bytes: 100,
  growth: 0,
  processes: 3,
  warmedUp: true,
  ...rest,
});

const reading = (
  workingSet: number,
  workers: WorkerReading[],
  rest: { now?: number; growthAboveSoft?: number; tasks?: { current: number; limit: number } } = {},
): Reading => {
  const { now = 0, growthAboveSoft, tasks } = rest;
  const growth = growthAboveSoft;
  const container = { limit: 1_000, workingSet, growth, growthAboveSoft, tasks };
  return {
    now,
    workers,
    container: { ...container, oomKills: undefined, stalled: undefined, reclaimable: 0 },
  };
};

const actions = (read: Reading, state: State = initialState): Action[] =>
  decide(read, bounds, state).actions;

const busy = { stage: 'busy' as const };

t.test('within the bounds nothing is done', (t) => {
  t.same(actions(reading(700, [worker('a', { bytes: 500 }), worker('b', busy)])), []);
  t.end();
});

t.test(
  'above the soft limit, the largest idle worker is recycled, then the next after its end',
  (t) => {
    const all = [worker('a'), worker('b', { bytes: 200 }), worker('c', { ...busy, bytes: 300 })];
    const first = decide(reading(701, all), bounds, initialState);
    t.same(first.actions, [{ do: 'recycle', worker: 'b', cause: 'container_soft' }]);
    const leaving = [all[0], { ...all[1], stage: 'leaving' }, all[2]] as WorkerReading[];
    t.same(actions(reading(701, leaving, { now: 5_000 }), first.state), []);
    const after = [all[0], all[2]] as WorkerReading[];
    t.same(actions(reading(701, after, { now: 5_000 }), first.state), [
      { do: 'recycle', worker: 'a', cause: 'container_soft' },
    ]);
    t.end();
  },
);

t.test('without an idle one a busy one is marked, and spared when the pressure is over', (t) => {
  const all = [worker('a', { ...busy, bytes: 200 }), worker('b', busy)];
  const { actions: marked, state } = decide(reading(701, all), bounds, initialState);
  t.same(marked, [{ do: 'mark', worker: 'a', cause: 'container_soft' }]);
  t.same(actions(reading(701, all, { now: 5_000 }), state), [], 'b would be the last');
  t.same(actions(reading(660, all, { now: 5_000 }), state), [], 'pressure ends below its bound');
  t.same(actions(reading(600, all, { now: 5_000 }), state), [{ do: 'unmark', worker: 'a' }]);
  const alone = [all[0]] as WorkerReading[];
  t.same(actions(reading(701, alone, { now: 5_000 }), state), [{ do: 'unmark', worker: 'a' }]);
  t.end();
});

t.test('above its own soft bound a worker goes between turns, unless it is the last', (t) => {
  const large = { bytes: 501 };
  const all = [worker('a', large), worker('b', { ...large, ...busy }), worker('c')];
  t.same(actions(reading(600, all)), [
    { do: 'recycle', worker: 'a', cause: 'worker_soft' },
    { do: 'mark', worker: 'b', cause: 'worker_soft' },
  ]);
  t.same(actions(reading(600, [worker('a', large)])), []);
  t.same(actions(reading(600, [worker('a', { ...large, stage: 'fresh' }), worker('b')])), []);
  t.end();
});

t.test('above the hard bound the fattest goes now, busy or the last', (t) => {
  const all = [worker('a', { bytes: 300 }), worker('b', { ...busy, bytes: 400 })];
  t.match(actions(reading(851, all)), [{ do: 'end', worker: 'b', cause: 'container_hard' }]);
  t.match(actions(reading(851, [worker('a', busy)])), [{ do: 'end', worker: 'a' }]);
  const leaks = [worker('a', { bytes: 400 }), worker('b', { bytes: 300, growth: 60 })];
  t.match(actions(reading(851, leaks)), [{ do: 'end', worker: 'b' }], 'soon it will be');
  const starts = [worker('a'), worker('b', { bytes: 50, growth: 90, warmedUp: false })];
  t.match(actions(reading(851, starts)), [{ do: 'end', worker: 'a' }], 'one that starts will not');
  t.end();
});

t.test('a worker that leaks right after its start is ended before the container is full', (t) => {
  const mebibyte = 2 ** 20;
  const [limit, rate, step] = [2_048, 600, 100];
  const sizes = boundsOf(
    {
      containerSoft: { share: 0.7 },
      containerHard: { share: 0.85 },
      workerSoft: { bytes: 2 ** 30 },
      workerHard: { bytes: 1.5 * 2 ** 30 },
    },
    limit * mebibyte,
  );
  // All are larger for now, and steady.
  let others = Array.from({ length: 6 }, (_, index) =>
    worker(`old-${index}`, { ...busy, bytes: 240 }),
  );
  const growth = new Growth();
  const above = new Growth();
  let state: State = initialState;
  let leaving: { name: string; until: number } | undefined;
  for (let now = 0; now <= 5_000; now += step) {
    const bytes = 120 + Math.max(0, now - 1_000) * (rate / 1_000);
    if (leaving && now >= leaving.until)
      others = others.filter(({ name }) => name !== leaving?.name);
    const used = 150 + bytes + others.reduce((sum, each) => sum + each.bytes, 0);
    t.ok(used < limit, `${Math.round(used)} MiB at ${now} ms`);
    growth.add(now, bytes * mebibyte);
    if (used * mebibyte > sizes.soft) above.add(now, used * mebibyte);
    const young = {
      ...worker('young', { ...busy, bytes: bytes * mebibyte, growth: growth.rate }),
      warmedUp: hasWarmedUp(now, bytes * mebibyte),
    };
    const workers = [young, ...others.map((each) => ({ ...each, bytes: each.bytes * mebibyte }))];
    const rates = { now, growthAboveSoft: above.rate };
    const seen = reading(used * mebibyte, workers, rates);
    const container = seen.container && { ...seen.container, limit: limit * mebibyte };
    const next = decide({ ...seen, container }, sizes, state);
    state = next.state;
    const end = next.actions.find((action) => action.do === 'end');
    if (end?.worker === 'young') return t.end();
    if (end) {
      leaving = { name: end.worker, until: now + 300 };
      others = others.map((each) =>
        each.name === end.worker ? { ...each, stage: 'leaving' } : each,
      );
    }
  }
  t.fail('it has leaked on');
  t.end();
});

t.test('a start with many MCP servers is no leak, though its processes sum up', (t) => {
  const mebibyte = 2 ** 20;
  const [cli, npm, node] = [150, 66, 44];
  const sizes = [cli, npm, npm, npm, node, node, node].map((size) => size * mebibyte);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const rate = 250;
  const starting = worker('starting', {
    ...busy,
    bytes: bytes / mebibyte,
    growth: rate,
    processes: sizes.length,
    warmedUp: hasWarmedUp(3_600, Math.max(...sizes)),
  });
  const all = [worker('old-idle', { bytes: 110 }), starting];
  t.same(actions(reading(720, all, { growthAboveSoft: rate })), [
    { do: 'recycle', worker: 'old-idle', cause: 'container_soft' },
  ]);
  t.end();
});

t.test('the limit foreseen is as good as the bound, if it is above soft', (t) => {
  const all = [worker('a', { ...busy, bytes: 400, growth: 30 }), worker('b')];
  t.match(actions(reading(750, all, { growthAboveSoft: 30 })), [
    { do: 'end', worker: 'a', cause: 'container_predicted', grace: 2_000, patience: 2_083 },
  ]);
  t.match(actions(reading(750, all, { growthAboveSoft: 20 })), [{ do: 'recycle', worker: 'b' }]);
  t.same(actions(reading(690, all, { growthAboveSoft: 300 })), []);
  const starting = [...all, worker('c', { stage: 'fresh', growth: 25, warmedUp: false })];
  t.match(actions(reading(750, starting, { growthAboveSoft: 30 })), [{ do: 'recycle' }]);
  const fast = reading(900, all, { growthAboveSoft: 200 });
  t.match(actions(fast), [{ grace: 250, patience: 125 }], 'parts of what is left');
  const steady = reading(
    900,
    all.map((each) => ({ ...each, growth: 0 })),
  );
  t.match(actions(steady), [{ grace: 2_000, patience: 8_000 }], 'nothing hurries');
  t.end();
});

t.test('a worker above its own hard bound goes now', (t) => {
  const all = [worker('a', { ...busy, bytes: 701 }), worker('b')];
  t.match(actions(reading(600, all)), [{ do: 'end', worker: 'a', cause: 'worker_hard' }]);
  const none = { ...reading(0, all), container: undefined };
  t.match(actions(none), [{ do: 'end', worker: 'a' }], 'without a cgroup too');
  t.end();
});

t.test('the memory of its profile is in the place of the bounds for all', (t) => {
  const all = [worker('a', { ...busy, bytes: 301, limit: 300 }), worker('b')];
  t.match(actions(reading(600, all)), [{ do: 'end', worker: 'a', cause: 'worker_hard' }]);
  const half = [worker('a', { bytes: 201, limit: 300 }), worker('b', { bytes: 201 })];
  t.same(actions(reading(600, half)), [{ do: 'recycle', worker: 'a', cause: 'worker_soft' }]);
  const generous = [worker('a', { ...busy, bytes: 801, limit: 1_300 }), worker('b')];
  t.same(actions(reading(600, generous)), [], 'it may also allow more');
  t.end();
});

t.test('a fork bomb is ended', (t) => {
  const all = [worker('a', { ...busy, processes: 80 }), worker('b')];
  const full = reading(100, all, { tasks: { current: 91, limit: 100 } });
  t.match(actions(full), [{ do: 'end', worker: 'a', cause: 'processes' }]);
  t.same(actions(reading(100, all, { tasks: { current: 89, limit: 100 } })), []);
  t.match(actions(reading(100, [worker('a', { processes: 2_001 })])), [{ do: 'end' }]);
  t.end();
});

t.test('if ending a worker does not lower the pressure, no other worker is ended in a row', (t) => {
  let state = initialState;
  const ended: number[] = [];
  for (let now = 0; now < 600_000; now += 250) {
    // Something else fills the container, whatever is done.
    const step = decide(reading(900, [worker('a'), worker('b')], { now }), bounds, state);
    state = step.state;
    if (step.actions.length > 0) ended.push(now);
  }
  t.ok(ended.length < 20, `${ended.length} times in ten minutes`);
  t.end();
});

t.test('a replacement that crosses the bound again is no relief', (t) => {
  let state = initialState;
  let startedAt = -60_000;
  let serial = 0;
  const ended: number[] = [];
  for (let now = 0; now < 600_000; now += 250) {
    // Something else leaves less room than one worker takes, and the next starts in half a second.
    const there = now >= startedAt;
    const started = worker(`worker-${serial}`, { warmedUp: now - startedAt >= 5_000 });
    const step = decide(reading(there ? 900 : 800, there ? [started] : [], { now }), bounds, state);
    state = step.state;
    if (!step.actions.some((action) => action.do === 'end')) continue;
    ended.push(now);
    startedAt = now + 500;
    serial += 1;
  }
  t.ok(ended.length > 1 && ended.length < 20, `${ended.length} times in ten minutes`);
  t.end();
});

t.test('when a bound is crossed long after, the next goes at once', (t) => {
  const first = decide(reading(900, [worker('a'), worker('b')]), bounds, initialState);
  let { state } = decide(reading(900, [worker('b')], { now: 1_250 }), bounds, first.state);
  t.equal(state.ended.container.pause, 2_000);
  for (const now of [2_000, 11_000]) ({ state } = decide(reading(800, [], { now }), bounds, state));
  const again = decide(reading(900, [worker('c')], { now: 12_000 }), bounds, state);
  t.match(again.actions, [{ do: 'end', worker: 'c' }]);
  t.equal(again.state.ended.container.pause, 1_000);
  t.end();
});

/** The state after six workers in a row were ended for their own hard bound. */
function afterOwnBounds(t: Test): State {
  let state = initialState;
  for (let serial = 0; serial < 6; serial += 1) {
    const large = worker(`large-${serial}`, { ...busy, bytes: 800 });
    const now = serial * 70_000 - 350_000;
    const step = decide(reading(600, [large, worker('a')], { now }), bounds, state);
    t.match(step.actions, [{ do: 'end', worker: large.name, cause: 'worker_hard' }]);
    ({ state } = decide(reading(200, [worker('a')], { now: now + 1_000 }), bounds, step.state));
  }
  return state;
}

t.test('ends for the bounds of workers do not delay an end for the container', (t) => {
  const state = afterOwnBounds(t);
  const all = [worker('a', { ...busy, bytes: 400 }), worker('b', { ...busy, bytes: 300 })];
  t.match(actions(reading(900, all, { now: 2_000 }), state), [
    { do: 'end', worker: 'a', cause: 'container_hard' },
  ]);
  t.end();
});

t.test('a worker whose end waits does not hide that the container is full', (t) => {
  const state = afterOwnBounds(t);
  const small = worker('small', { ...busy, bytes: 101, limit: 100 });
  const all = [small, worker('a', { ...busy, bytes: 400 })];
  const marked = actions(reading(600, all, { now: 2_000 }), state);
  t.match(marked, [{ do: 'mark', worker: 'small' }], 'its end waits');
  t.match(actions(reading(900, all, { now: 2_000 }), state), [
    { do: 'end', worker: 'a', cause: 'container_hard' },
  ]);
  t.end();
});

t.test('a worker that leaks while it is ended is killed, and no other is ended for it', (t) => {
  const leaking = worker('a', { stage: 'leaving', bytes: 600 });
  const all = [leaking, worker('b', { ...busy, bytes: 200 })];
  const ended = { ...initialState.ended, container: { at: -5_000, pause: 0 } };
  const first = decide(reading(900, all), bounds, { ...initialState, ended });
  t.match(first.actions, [{ do: 'end', worker: 'a', cause: 'container_hard' }]);
  t.equal(first.actions.length, 1);
  const soon = decide(reading(900, all, { now: 1_000 }), bounds, first.state);
  t.same(soon.actions, [], 'its end gets some time');
  const later = decide(reading(900, all, { now: 5_000 }), bounds, soon.state);
  t.match(later.actions, [{ do: 'end', worker: 'b' }], 'a process that cannot be killed');
  t.end();
});

const stages = fc.constantFrom('fresh', 'idle', 'busy', 'leaving') as fc.Arbitrary<
  WorkerReading['stage']
>;
const someWorkers = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    stage: stages,
    bytes: fc.nat({ max: 900 }),
    growth: fc.option(fc.integer({ min: -100, max: 300 }), { nil: undefined }),
    processes: fc.nat({ max: 2_500 }),
    warmedUp: fc.boolean(),
    limit: fc.option(fc.integer({ min: 100, max: 1_000 }), { nil: undefined }),
  }),
  { selector: ({ name }) => name },
);
const someReadings = fc.array(
  fc.record({
    pause: fc.nat({ max: 20_000 }),
    workingSet: fc.nat({ max: 1_000 }),
    growth: fc.option(fc.integer({ min: -100, max: 300 }), { nil: undefined }),
    workers: someWorkers,
  }),
  { maxLength: 30 },
);

t.test('the policy keeps its invariants for all readings', (t) => {
  const property = fc.property(someReadings, (readings) => {
    let state = initialState;
    let now = 0;
    for (const { pause, workingSet, growth, workers } of readings) {
      now += pause;
      const read = reading(workingSet, workers, {
        now,
        ...(growth === undefined ? {} : { growthAboveSoft: growth }),
      });
      const before = state;
      const step = decide(read, bounds, before);
      state = step.state;
      check(read, step.actions, before, state);
    }
  });
  fc.assert(property, { seed: 20_262, numRuns: 3_000 });
  t.pass('it does');
  t.end();
});

function check(read: Reading, done: Action[], before: State, state: State): void {
  const stageOf = (name: string) => read.workers.find((each) => each.name === name)?.stage;
  const of = (kind: Action['do']) => done.filter((action) => action.do === kind);
  const fail = (why: string): never => {
    throw new Error(`${why}: ${JSON.stringify({ read, done, before, state })}`);
  };
  for (const { do: kind, worker } of done) {
    if (stageOf(worker) !== 'leaving') continue;
    if (kind !== 'end' || before.hastened.has(worker)) fail('it has gone already');
  }
  if (of('end').length > 1) fail('two at once');
  if (of('recycle').some((action) => stageOf(action.worker) === 'busy')) fail('in mid-turn');
  if (of('mark').some((action) => stageOf(action.worker) !== 'busy')) fail('marked though idle');
  const staying = read.workers.filter(({ stage }) => stage !== 'leaving');
  const taken = new Set([...of('recycle').map((action) => action.worker), ...state.marked]);
  const ends = of('end').length > 0;
  if (!ends && staying.length > 0 && staying.every(({ name }) => taken.has(name))) {
    fail('soft pressure has taken the last');
  }
  const workingSet = read.container?.workingSet ?? 0;
  const small = read.workers.every(
    (each) => each.bytes <= boundsOfWorker(each, bounds).hard && each.processes <= 2_000,
  );
  if (ends && workingSet <= bounds.soft && small) fail('ended without need');
  if ((state.ceiling ?? 1) < 1) fail('nobody may start');
  if (workingSet > bounds.soft && state.ceiling === undefined) fail('more may start');
}
