/** The metrics of `berth write-back`. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { failureReasons } from './api-failure.ts';
import type { Observer } from './write-back.ts';

/** @param isPending whether a login waits to be written */
export function createWriteBackMetrics(isPending: () => boolean): {
  registry: Registry;
  observer: Observer;
} {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const success = new Gauge({
    name: 'berth_write_back_success_timestamp_seconds',
    help: "When the live Secret last had the volume's login; 0 before",
    registers,
  });
  const kept = new Gauge({
    name: 'berth_write_back_kept',
    help: '1 while the live Secret has another login than the volume',
    registers,
  });
  const failures = new Counter({
    name: 'berth_write_back_failures_total',
    help: 'Failures to read or write the live Secret, or to read the volume, by reason',
    labelNames: ['reason'] as const,
    registers,
  });
  for (const reason of failureReasons) failures.inc({ reason }, 0);
  const delay = new Histogram({
    name: 'berth_write_back_delay_seconds',
    help: 'From the detection of a login on the volume until it was in the live Secret',
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800],
    registers,
  });
  new Gauge({
    name: 'berth_write_back_pending',
    help: '1 while the volume has a login that is not in the live Secret yet',
    registers,
    collect() {
      this.set(isPending() ? 1 : 0);
    },
  });
  const observer: Observer = {
    succeeded: () => {
      kept.set(0);
      success.setToCurrentTime();
    },
    kept: () => kept.set(1),
    failed: (reason) => failures.inc({ reason }),
    written: (milliseconds) => delay.observe(milliseconds / 1_000),
  };
  return { registry, observer };
}
