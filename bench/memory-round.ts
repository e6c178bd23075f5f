/**
 * Measures the cost of one measurement of the guard: eight workers of five processes each, and a
 * real cgroup.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { marksOf } from '../supervisor/claude/environment.ts';
import { MemoryGuard } from '../supervisor/memory/guard.ts';
import { captureLog } from '../test/support/captured-log.ts';
import { until } from '../test/support/until.ts';

const workers = 8;
const rounds = 200;
const huge = { bytes: 2 ** 50 };

/** Returns milliseconds of CPU time, the minimum of several series. */
export async function measureRound(directory: string): Promise<number> {
  const started = Array.from({ length: workers }, (_, index) => {
    const name = `worker-${index + 1}`;
    const script = 'for i in 1 2 3 4; do sleep 600 & done; wait';
    const env = { PATH: process.env.PATH, ...marksOf(directory, name) };
    return { name, child: spawn('sh', ['-c', script], { env, detached: true, stdio: 'ignore' }) };
  });
  const guard = new MemoryGuard({
    containerSoft: huge,
    containerHard: huge,
    workerSoft: huge,
    workerHard: huge,
    workers: () =>
      started.map(({ name, child: { pid = 0 } }) => ({ name, pid, stage: 'idle', startedAt: 0 })),
    marksOf: (name) => marksOf(directory, name),
    act: () => {},
    log: captureLog().log,
  });
  try {
    guard.start();
    await until('all are there', () => {
      guard.sample();
      return guard.report.reading.workers.every(({ processes }) => processes === 5);
    });
    let least = Number.POSITIVE_INFINITY;
    for (let series = 0; series < 5; series++) {
      const before = process.cpuUsage();
      for (let round = 0; round < rounds; round++) guard.sample();
      const { user, system } = process.cpuUsage(before);
      least = Math.min(least, (user + system) / 1_000 / rounds);
    }
    return least;
  } finally {
    await guard.stop();
    for (const { child } of started) {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
  }
}
