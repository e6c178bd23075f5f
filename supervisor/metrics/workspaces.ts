/** The metrics of checkouts of repositories. */
import { Counter, Gauge, type Registry } from 'prom-client';
import { type MirrorRemoval, mirrorRemovals } from '../workspaces/mirrors.ts';
import { type CheckoutOutcome, checkoutOutcomes } from '../workspaces/prepared-checkout.ts';
import { type PublishOutcome, publishOutcomes } from '../workspaces/turn-end.ts';

/** @param usage read at each scrape */
export function registerWorkspaces(
  usage: () => { mirrors: number; mirrorBytes: number; spares: number },
  registry: Registry,
) {
  const registers = [registry];
  const counter = <L extends string>(
    name: string,
    help: string,
    label: L,
    values: readonly string[],
  ): ((value: string) => void) => {
    const made = new Counter({ name, help, labelNames: [label], registers });
    const labels = (value: string) => ({ [label]: value }) as Record<L, string>;
    for (const value of values) made.inc(labels(value), 0);
    return (value) => made.inc(labels(value));
  };
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      ...{ name, help, registers },
      collect() {
        this.set(read());
      },
    });
  };
  gauge('berth_mirrors', 'Mirrors of repositories on the disk', () => usage().mirrors);
  gauge('berth_mirrors_bytes', 'Bytes of the mirrors of repositories', () => usage().mirrorBytes);
  gauge(
    'berth_spare_checkouts',
    'Repositories whose files are checked out for the next session',
    () => usage().spares,
  );
  const checkouts = counter(
    'berth_checkouts_total',
    'Checkouts of repositories for sessions, by outcome',
    'outcome',
    checkoutOutcomes,
  );
  const published = counter(
    'berth_published_total',
    'Turns whose commits were to be published, by outcome',
    'outcome',
    publishOutcomes,
  );
  const removed = counter(
    'berth_mirrors_removed_total',
    'Mirrors of repositories that were removed, by reason',
    'reason',
    mirrorRemovals,
  );
  return {
    checkout: (outcome: CheckoutOutcome) => checkouts(outcome),
    published: (outcome: PublishOutcome) => published(outcome),
    mirrorRemoved: (reason: MirrorRemoval) => removed(reason),
  };
}
