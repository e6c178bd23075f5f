import { Registry } from 'prom-client';
import t from 'tap';
import type { MemoryReport } from '../../../supervisor/memory/guard.ts';
import { registerMemory } from '../../../supervisor/metrics/memory.ts';

t.test('there are as many series of workers as there are workers at once', async (t) => {
  let sizes: Record<string, number> = {};
  const registry = new Registry();
  const report = (): MemoryReport => ({
    reading: {
      now: 0,
      container: undefined,
      workers: Object.entries(sizes).map(([name, bytes]) => ({
        name,
        bytes,
        stage: 'busy',
        growth: undefined,
        processes: 1,
        warmedUp: true,
      })),
    },
    bounds: { soft: 1, hard: 2, workerSoft: 3, workerHard: 4, workerProcesses: 5 },
    level: 'none',
    decisions: new Map(),
    roundMs: 0,
  });
  registerMemory(report, [registry]);
  const scrape = async (now: Record<string, number>) => {
    sizes = now;
    const text = await registry.getSingleMetricAsString('berth_worker_memory_bytes');
    return text.split('\n').filter((line) => line.startsWith('berth_'));
  };
  const line = (slot: number, bytes: number) =>
    `berth_worker_memory_bytes{slot="${slot}"} ${bytes}`;
  t.same(await scrape({ 'worker-1': 10, 'worker-2': 20 }), [line(1, 10), line(2, 20)]);
  t.same(await scrape({ 'worker-2': 21 }), [line(2, 21)], 'of one that is gone there is none');
  t.same(await scrape({ 'worker-2': 22, 'worker-3': 30 }), [line(2, 22), line(1, 30)]);
  t.same(await scrape({ 'worker-3': 31, 'worker-4': 40 }), [line(1, 31), line(2, 40)]);
  const all = await registry.metrics();
  t.match(all, /^berth_worker_memory_soft_bytes 3$/m);
  t.match(all, /^berth_worker_memory_hard_bytes 4$/m);
});
