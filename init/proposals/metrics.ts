/** The metrics of proposals. docs/proposals.md lists them. */
import { Counter, Gauge, type Registry } from 'prom-client';
import { type LeftOut, leftOutReasons } from './changes.ts';

const results = [
  'opened',
  'updated',
  'unchanged',
  'withdrawn',
  'foreign',
  'none',
  'failed',
] as const;
export type PassResult = (typeof results)[number];
const ends = ['merged', 'declined'] as const;
export type PullEnd = (typeof ends)[number];

export interface ProposalMetrics {
  passed(result: PassResult): void;
  ended(how: PullEnd): void;
  /** What the last pass found. */
  found(files: number, leftOut: readonly LeftOut[]): void;
}

export function createProposalMetrics(registry: Registry): ProposalMetrics {
  const registers = [registry];
  const passes = new Counter({
    name: 'berth_proposals_passes_total',
    help: 'Comparisons of the volume with the repository for a pull request, by result',
    labelNames: ['result'],
    registers,
  });
  for (const result of results) passes.inc({ result }, 0);
  const ended = new Counter({
    name: 'berth_proposals_ended_total',
    help: 'Pull requests of berth that ended, by how',
    labelNames: ['how'],
    registers,
  });
  for (const how of ends) ended.inc({ how }, 0);
  const failing = new Gauge({
    name: 'berth_proposals_failing',
    help: '1 while the pull request cannot be opened or updated',
    registers,
  });
  const files = new Gauge({
    name: 'berth_proposals_files',
    help: 'Files of the open pull request',
    registers,
  });
  const leftOut = new Gauge({
    name: 'berth_proposals_left_out',
    help: 'Changed files that are not proposed, by reason',
    labelNames: ['reason'],
    registers,
  });
  for (const reason of leftOutReasons) leftOut.set({ reason }, 0);
  return {
    passed: (result) => {
      passes.inc({ result });
      failing.set(result === 'failed' ? 1 : 0);
    },
    ended: (how) => ended.inc({ how }),
    found: (count, left) => {
      files.set(count);
      for (const reason of leftOutReasons) {
        leftOut.set({ reason }, left.filter((one) => one.reason === reason).length);
      }
    },
  };
}
