/** The metrics of the init that stays. docs/sync.md lists them. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Judgement } from './deliveries.ts';

const checkResults = ['unchanged', 'changed', 'failed'] as const;
export type CheckResult = (typeof checkResults)[number];
const passKinds = ['commit', 'rollback', 'repair', 'failed'] as const;
export type PassKind = (typeof passKinds)[number];
const deliveryResults = ['push', 'other', 'repeated', 'forged', 'limited', 'too_large'] as const;
export type DeliveryResult = Judgement | 'limited' | 'too_large';

export interface SyncMetrics {
  checked(result: CheckResult, bytes: number): void;
  passed(kind: PassKind, seconds: number): void;
  delivered(result: DeliveryResult): void;
  /** The server has confirmed the commit that it has now. */
  confirmed(): void;
  /** A sync, or the first preparation, has ended. */
  synced(result: 'succeeded' | 'failed'): void;
  /** The commit that starts no worker and the commit that is used instead; undefined for none. */
  rolledBack(commits: { bad: string; good: string } | undefined): void;
}

export function createSyncMetrics(registry: Registry): SyncMetrics {
  const registers = [registry];
  const checks = new Counter({
    name: 'berth_sync_checks_total',
    help: 'Requests for the refs of the repository, by result',
    labelNames: ['result'],
    registers,
  });
  for (const result of checkResults) checks.inc({ result }, 0);
  const received = new Counter({
    name: 'berth_sync_received_bytes_total',
    help: 'Bytes of the answers to requests for the refs',
    registers,
  });
  const passes = new Counter({
    name: 'berth_sync_passes_total',
    help: 'Changes of the volume while sessions run, by kind',
    labelNames: ['kind'],
    registers,
  });
  for (const kind of passKinds) passes.inc({ kind }, 0);
  const duration = new Gauge({
    name: 'berth_sync_last_pass_seconds',
    help: 'Duration of the last change of the volume',
    registers,
  });
  const deliveries = new Counter({
    name: 'berth_sync_deliveries_total',
    help: 'Deliveries of the webhook, by result',
    labelNames: ['result'],
    registers,
  });
  for (const result of deliveryResults) deliveries.inc({ result }, 0);
  const confirmedAt = new Gauge({
    name: 'berth_sync_confirmed_timestamp_seconds',
    help: 'When the git server last answered the request for the refs, in seconds since 1970',
    registers,
  });
  const failingSince = new Gauge({
    name: 'berth_sync_failing_timestamp_seconds',
    help: 'Since when each sync fails, in seconds since 1970; 0 after a success',
    registers,
  });
  let isFailing = false;
  const rolledBack = new Gauge({
    name: 'berth_sync_rolled_back',
    help: '1 while the volume has the commit before, because no worker starts with the newer one',
    labelNames: ['commit', 'last_good_commit'],
    registers,
  });
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the program',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Gauge({
    name: 'process_cpu_seconds_total',
    help: 'CPU time of the program',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.set((user + system) / 1e6);
    },
  });
  return {
    checked: (result, bytes) => {
      checks.inc({ result });
      received.inc(bytes);
    },
    passed: (kind, seconds) => {
      passes.inc({ kind });
      duration.set(seconds);
    },
    delivered: (result) => deliveries.inc({ result }),
    confirmed: () => confirmedAt.set(Date.now() / 1_000),
    synced: (result) => {
      const failed = result === 'failed';
      if (failed !== isFailing) failingSince.set(failed ? Date.now() / 1_000 : 0);
      isFailing = failed;
    },
    rolledBack: (commits) => {
      rolledBack.reset();
      if (commits) {
        rolledBack.set({ commit: commits.bad, last_good_commit: commits.good }, 1);
      }
    },
  };
}
