import t from 'tap';
import { initialState, type State } from '../../../supervisor/memory/policy.ts';
import type { Reading, WorkerReading } from '../../../supervisor/memory/reading.ts';
import {
  nextBound,
  untilNextGlance,
  untilNextLook,
} from '../../../supervisor/memory/sampling-interval.ts';

const mebibyte = 2 ** 20;
const bounds = {
  soft: 700 * mebibyte,
  hard: 850 * mebibyte,
  workerSoft: 1_000 * mebibyte,
  workerHard: 1_500 * mebibyte,
  workerProcesses: 2_000,
};

const reading = (used: number, growth = 0, workers: WorkerReading[] = []): Reading => ({
  now: 0,
  container: {
    limit: 1_000 * mebibyte,
    workingSet: used * mebibyte,
    reclaimable: 0,
    oomKills: undefined,
    stalled: undefined,
    tasks: undefined,
    growth: growth * mebibyte,
    growthAboveSoft: undefined,
  },
  workers,
});
const soft: State = { ...initialState, level: 'soft' };

t.test('the less memory is left, the shorter is the interval between readings', (t) => {
  t.equal(untilNextLook(reading(10), bounds, initialState), 2_000);
  t.equal(untilNextLook(reading(450), bounds, initialState), 1_000);
  t.equal(untilNextLook(reading(450, 800), bounds, initialState), 250, 'a leak that is faster');
  t.equal(untilNextLook(reading(849), bounds, initialState), 250);
  t.equal(untilNextLook(reading(10), bounds, soft), 250, 'under pressure');
  const grown = {
    name: 'a',
    stage: 'busy',
    bytes: 400 * mebibyte,
    growth: 200 * mebibyte,
    processes: 3,
    warmedUp: true,
  } as const;
  t.equal(untilNextLook(reading(10, 0, [{ ...grown, limit: 600 * mebibyte }]), bounds, soft), 250);
  const own = { ...grown, bytes: 300 * mebibyte, limit: 500 * mebibyte };
  t.equal(untilNextLook(reading(10, 0, [own]), bounds, initialState), 1_000, 'by its own bound');
  t.end();
});

t.test('it glances before a leak of 1 GiB/s could pass the next bound unseen', (t) => {
  t.equal(untilNextGlance(reading(10), bounds, 'none'), 674);
  t.equal(untilNextGlance(reading(690), bounds, 'none'), 100, 'not more often than ten times');
  t.equal(untilNextGlance(reading(595), bounds, 'soft'), 249, 'then hard is the next');
  t.equal(untilNextGlance(reading(900), bounds, 'hard'), 2_000, 'each look does as much');
  t.equal(untilNextGlance({ ...reading(0), container: undefined }, bounds, 'none'), 2_000);
  t.equal(nextBound(bounds, 'none'), bounds.soft);
  t.equal(nextBound(bounds, 'soft'), bounds.hard);
  t.end();
});
