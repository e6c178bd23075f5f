/**
 * What happens to a login in simulated days, drawn from a seed before anything runs, so that berth and
 * the old script meet the same. Invariants: every disturbance is dealt once before any is dealt again.
 */
import { Random } from './random.ts';

/** `at a refresh`: just when the login server has answered one; otherwise at any moment. */
export const disturbances = [
  'restart',
  'restart, volume lost',
  'pod killed',
  'pod killed at a refresh',
  'node lost',
  'node lost at a refresh',
  'supervisor killed',
  'supervisor killed at a refresh',
  'worker killed',
  'worker killed at a refresh',
  'init killed',
  'write-back killed',
  'write-back killed at a refresh',
  'new login',
  'new login at a refresh',
  'new login while it is down',
  'login server answers 500',
  'login server answers 429',
  'login server hangs',
  'login server refuses',
  'clock 10 minutes ahead',
  'clock 10 minutes behind',
  'Secret deleted',
  'Secrets malformed',
  'Kubernetes API away',
  'Kubernetes API answers 409',
  'Kubernetes API answers 403',
] as const;

export type Disturbance = (typeof disturbances)[number];

export interface Planned {
  what: Disturbance | 'prompts';
  /** When, as a share of the day. */
  at: number;
  /** From 0 to below 1, for what it leaves open. */
  chance: number;
}

/** Disturbances of a day, and times at which somebody sends prompts. */
const perDay = { disturbances: 4, prompts: 6 };

/** @returns for each day what happens, in order */
export function drawPlan(days: number, seed: number): Planned[][] {
  const random = new Random(seed);
  let deck: Disturbance[] = [];
  const deal = (): Disturbance => {
    if (deck.length === 0) deck = shuffled(disturbances, random);
    return deck.pop() as Disturbance;
  };
  return Array.from({ length: days }, () => {
    const planned = (what: Planned['what']) => ({ what, at: random.next(), chance: random.next() });
    const day = [
      ...Array.from({ length: perDay.disturbances }, () => planned(deal())),
      ...Array.from({ length: perDay.prompts }, () => planned('prompts')),
    ];
    return day.sort((a, b) => a.at - b.at);
  });
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const left = [...items];
  return items.map(() => left.splice(random.below(left.length), 1)[0] as T);
}
