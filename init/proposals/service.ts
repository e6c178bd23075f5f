/**
 * Proposals as a service of the init that stays: a pass at each interval, and further apart after
 * failures.
 * Invariants: no pass runs before this pod has the lease: another pod may propose then. A failure never
 * ends the program and never changes the volume. `stop` ends a pass.
 */
import { waitForRound } from '../../shared/backoff.ts';
import { pause } from '../../shared/waiting.ts';
import type { Service } from '../sync/service.ts';
import { createProposalMetrics } from './metrics.ts';
import { Proposer } from './proposer.ts';

/** Milliseconds for one pass. */
const patience = 120_000;
/** Milliseconds before the first pass, so that a start is not slower. */
const first = 10_000;
/** Milliseconds between two passes: an open pull request costs a request for each. */
const shortest = 15_000;
const afterFailure = { first: 10_000, longest: 900_000, jitter: 0.5 };

/** @param interval BERTH_SYNC_INTERVAL, in milliseconds */
export function proposalsService(interval: number): Service {
  // The first preparation saves copies before the service starts.
  const since = new Date();
  return {
    name: 'proposals',
    needsVolume: true,
    async start({ config: readConfig, log, registry, signal }) {
      const end = new AbortController();
      const over = AbortSignal.any([signal, end.signal]);
      const metrics = createProposalMetrics(registry);
      const proposer = new Proposer({ readConfig, metrics, log, since });
      const run = async (): Promise<void> => {
        const between = Math.max(interval, shortest);
        let failures = 0;
        await pause(Math.min(first, interval), over);
        while (!over.aborted) {
          try {
            const bounded = AbortSignal.any([over, AbortSignal.timeout(patience)]);
            metrics.passed(await proposer.pass(bounded));
            failures = 0;
          } catch (error) {
            if (over.aborted) return;
            failures += 1;
            metrics.passed('failed');
            const text = 'changes of the volume could not be proposed; this is tried again';
            log.warn('proposal_failed', text, { error, attempt: failures });
          }
          await pause(waitForRound(failures, between, afterFailure), over);
        }
      };
      const running = run();
      return {
        stop: async () => {
          end.abort();
          await running;
        },
      };
    },
  };
}
