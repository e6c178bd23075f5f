/**
 * The metrics of prompts and their turns, by profile.
 * Invariant: the series of a profile are initialised to 0, from the first scrape after the profile
 * exists (counters.ts explains why).
 */
import { Counter, Histogram, type Registry } from 'prom-client';
import type { ErrorCode } from '../../shared/errors.ts';
import type { MetricSources } from './gauges.ts';

const buckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];
const tokenKinds = ['input', 'output', 'cache_write', 'cache_read'];
/**
 * The outcomes of an accepted prompt; a request that is refused before acceptance is not a prompt.
 */
const outcomes: readonly ('ok' | ErrorCode)[] = [
  ...(['ok', 'interrupted', 'turn_failed', 'prompt_timeout', 'internal', 'draining'] as const),
  ...(['worker_lost', 'worker_recycled', 'cli_unavailable', 'queue_full', 'disk_full'] as const),
  ...(['model_unavailable', 'overloaded', 'rate_limited', 'usage_limit'] as const),
  ...(['model_not_found', 'permission_denied', 'billing_required', 'prompt_too_large'] as const),
  ...(['login_required', 'login_unavailable', 'budget_exceeded', 'turns_exceeded'] as const),
  ...(['output_mismatch', 'daily_budget_exceeded', 'paused', 'session_not_found'] as const),
  ...(['blocked_by_hook', 'empty_answer', 'mcp_unavailable'] as const),
];

export function registerTurns(
  source: Pick<MetricSources, 'profiles' | 'tokens'>,
  registry: Registry,
) {
  const begun = new Set<string>();
  /** Call this before anything of the profile is counted. */
  const begin = (profile: string): void => {
    if (begun.has(profile)) return;
    begun.add(profile);
    for (const outcome of outcomes) prompts.inc({ outcome, profile }, 0);
    duration.zero({ outcome: 'ok', profile });
    for (const histogram of [queued, firstToken]) histogram.zero({ profile });
    for (const counter of [cost, costUnseen]) counter.inc({ profile }, 0);
    for (const kind of tokenKinds) tokens.inc({ kind, profile }, 0);
  };
  const shared = {
    registers: [registry],
    collect: () => source.profiles().forEach(begin),
  };
  const prompts = new Counter({
    name: 'berth_prompts_total',
    help: 'Prompts by outcome: ok, or the code of the error',
    labelNames: ['outcome', 'profile'],
    ...shared,
  });
  const duration = new Histogram({
    name: 'berth_prompt_duration_seconds',
    help: 'From acceptance to the answer',
    labelNames: ['outcome', 'profile'],
    buckets,
    ...shared,
  });
  const queued = new Histogram({
    name: 'berth_queue_wait_seconds',
    help: 'From acceptance until a worker is available, for answered prompts',
    labelNames: ['profile'],
    buckets,
    ...shared,
  });
  const firstToken = new Histogram({
    name: 'berth_time_to_first_token_seconds',
    help: 'From the start of the turn to the first token of the model',
    labelNames: ['profile'],
    buckets,
    ...shared,
  });
  const cost = new Counter({
    name: 'berth_cost_usd_total',
    help: 'US dollars at list prices, as reported by the CLI, including failed turns',
    labelNames: ['profile'],
    ...shared,
  });
  const costByToken = new Counter({
    name: 'berth_token_cost_usd_total',
    help: 'US dollars at list prices by API token, including failed turns',
    labelNames: ['token'],
    registers: [registry],
    collect() {
      for (const token of source.tokens()) this.inc({ token }, 0);
    },
  });
  const costUnseen = new Counter({
    name: 'berth_cost_unseen_total',
    help: 'Turns whose cost the CLI did not report: the budgets count an estimate',
    labelNames: ['profile'],
    ...shared,
  });
  const tokens = new Counter({
    name: 'berth_tokens_total',
    help: 'Tokens by kind: input, output, cache_write, cache_read',
    labelNames: ['kind', 'profile'],
    ...shared,
  });
  return { begin, prompts, duration, queued, firstToken, cost, costUnseen, costByToken, tokens };
}
