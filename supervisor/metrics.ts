/**
 * The metrics of the supervisor that count events. Names and units follow Prometheus' conventions.
 * Always holds: a counter whose labels are known beforehand is 0 before its first event, for Prometheus
 * takes no increase of a series that begins with 1.
 */
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import type { RefreshFailure } from './credentials/refresh-turns.ts';
import type { CredentialsEvent } from './credentials/watch.ts';
import { type MetricSources, registerGauges } from './gauges.ts';
import { type RecycleReason, recycleReasons } from './pool/worker.ts';
import type { Answer } from './sessions/answer.ts';
import { type LossReason, lossReasons } from './sessions/lost-turn.ts';

/** What a turn has used, whatever its outcome. */
export interface Spent {
  costUsd: number;
  usage: Answer['usage'];
}

/** What was lost and ended since the start, by reason. */
export interface Losses {
  recycles: Record<string, number>;
  carriedOn: Record<string, number>;
  lost: Record<string, number>;
}

export interface Metrics {
  registry: Registry;
  /** What the counters of the same names say, for the status. */
  losses: Readonly<Losses>;
  /** Counts a prompt by its outcome, `ok` or an error's code. */
  prompt: (profile: string, outcome: string, milliseconds: number, answer?: Answer) => void;
  spent: (profile: string, turn: Spent) => void;
  recycled: (reason: RecycleReason) => void;
  /** Counts a turn whose process was lost. */
  lost: (reason: LossReason, carriedOn: boolean) => void;
  /** Counts a request without a valid token. */
  authFailure: (reason: (typeof authFailureReasons)[number]) => void;
  /** Counts what has happened to the login file. */
  credentials: (event: CredentialsEvent) => void;
  /** Counts a refresh of the login that was due and has not come about. */
  refreshFailed: (reason: RefreshFailure) => void;
  /** Counts a session that nobody asked to remove. */
  sessionRemoved: (reason: (typeof removalReasons)[number]) => void;
}

const removalReasons = ['retention', 'budget'] as const;
const refreshFailureReasons = [
  'refused',
  'failed',
  'postponed',
] as const satisfies RefreshFailure[];
const authFailureReasons = ['missing', 'unknown'] as const;
const second = 1_000;
const buckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  registerGauges(sources, registry);
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Counter({ name, help, labelNames, registers: [registry] });
  const histogram = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Histogram({ name, help, labelNames, buckets, registers: [registry] });

  const prompts = counter(
    'berth_prompts_total',
    'Prompts by outcome: ok, or the code of the error',
    'outcome',
    'profile',
  );
  const duration = histogram(
    'berth_prompt_duration_seconds',
    'From acceptance to the answer',
    'outcome',
    'profile',
  );
  const queued = histogram(
    'berth_queue_wait_seconds',
    'From acceptance until a worker is there, of prompts that were answered',
    'profile',
  );
  const firstToken = histogram(
    'berth_time_to_first_token_seconds',
    'From the begin of the turn to the first token of the model',
    'profile',
  );
  const cost = counter(
    'berth_cost_usd_total',
    'US dollars at list prices, as the CLI reports them, of failed turns too',
    'profile',
  );
  const tokens = counter(
    'berth_tokens_total',
    'Tokens by kind: input, output, cache_write, cache_read',
    'kind',
    'profile',
  );
  const byReason = (name: string, help: string, reasons: readonly string[]) => {
    const made = counter(name, help, 'reason');
    for (const reason of reasons) made.inc({ reason }, 0);
    return made;
  };
  const recycles = byReason(
    'berth_worker_recycles_total',
    'Workers ended, by reason',
    recycleReasons,
  );
  const carriedOn = byReason(
    'berth_turns_carried_on_total',
    'Turns that went on in another process, by why they lost theirs',
    lossReasons,
  );
  const lost = byReason(
    'berth_turns_lost_total',
    'Turns that were not carried on when their process was lost',
    lossReasons,
  );
  const authFailures = byReason(
    'berth_auth_failures_total',
    'Requests without a token (missing) or with one that nobody has (unknown)',
    authFailureReasons,
  );
  const removals = byReason(
    'berth_sessions_removed_total',
    'Sessions removed for their age or for the disk budget',
    removalReasons,
  );
  const credentials = counter(
    'berth_credentials_events_total',
    'What was seen of the login file, by its state, and refreshed, put_back, adopted',
    'event',
  );
  const refreshFailures = byReason(
    'berth_credentials_refresh_failures_total',
    'Refreshes that were due and have not come about: refused by the login server, failed with a turn, or postponed while the old access token is good',
    refreshFailureReasons,
  );
  const losses: Losses = { recycles: {}, carriedOn: {}, lost: {} };
  const count = (name: keyof Losses, reason: string): void => {
    losses[name][reason] = (losses[name][reason] ?? 0) + 1;
    ({ recycles, carriedOn, lost })[name].inc({ reason });
  };
  return {
    registry,
    losses,
    prompt: (profile, outcome, milliseconds, answer) => {
      prompts.inc({ outcome, profile });
      duration.observe({ outcome, profile }, milliseconds / second);
      if (!answer) return;
      queued.observe({ profile }, answer.queued_ms / second);
      if (answer.ttft_ms !== null) firstToken.observe({ profile }, answer.ttft_ms / second);
    },
    spent: (profile, { costUsd, usage }) => {
      cost.inc({ profile }, costUsd);
      tokens.inc({ kind: 'input', profile }, usage.input_tokens);
      tokens.inc({ kind: 'output', profile }, usage.output_tokens);
      tokens.inc({ kind: 'cache_write', profile }, usage.cache_creation_input_tokens);
      tokens.inc({ kind: 'cache_read', profile }, usage.cache_read_input_tokens);
    },
    recycled: (reason) => count('recycles', reason),
    lost: (reason, goesOn) => count(goesOn ? 'carriedOn' : 'lost', reason),
    authFailure: (reason) => authFailures.inc({ reason }),
    credentials: (event) => credentials.inc({ event }),
    refreshFailed: (reason) => refreshFailures.inc({ reason }),
    sessionRemoved: (reason) => removals.inc({ reason }),
  };
}
