/**
 * The counters of the supervisor. Names and units follow Prometheus' conventions.
 * Invariant: every counter is initialised to 0 for each label value. Prometheus cannot see an
 * increase on a series whose first sample is 1, so no alert would fire.
 */
import { Counter, collectDefaultMetrics, Registry } from 'prom-client';
import { type GuardAction, guardActions } from '../configuration/guard.ts';
import { type SessionOrigin, sessionOrigins } from '../conversations/conversations.ts';
import type { RefreshFailure } from '../credentials/refresh-coordinator.ts';
import { type CredentialsEvent, credentialsEvents } from '../credentials/watch.ts';
import { recycleReasons } from '../pool/worker.ts';
import type { Answer } from '../prompts/answer.ts';
import { lossReasons } from '../prompts/lost-turn.ts';
import { removalReasons } from '../sessions/retention.ts';
import type { MirrorRemoval } from '../workspaces/mirrors.ts';
import type { CheckoutOutcome } from '../workspaces/prepared-checkout.ts';
import type { PublishOutcome } from '../workspaces/turn-end.ts';
import { type ApprovalMeters, registerApprovals } from './approvals.ts';
import { type MetricSources, registerGauges } from './gauges.ts';
import { type JobMeters, registerJobs } from './jobs.ts';
import { type McpMeters, registerMcp } from './mcp.ts';
import { registerTurns } from './turns.ts';
import { registerWorkspaces } from './workspaces.ts';

/** The usage of a turn, whatever its outcome. */
export interface Spent {
  costUsd: number;
  usage: Answer['usage'];
}

/** Lost and recycled workers since the start, by reason. */
export interface Losses {
  recycles: Record<string, number>;
  carriedOn: Record<string, number>;
  lost: Record<string, number>;
}

export interface Metrics extends JobMeters, McpMeters, ApprovalMeters {
  registry: Registry;
  /** The values of the counters with the same names, for the status. */
  losses: Readonly<Losses>;
  /** Counts a prompt by its outcome, `ok` or an error's code. */
  prompt: (profile: string, outcome: string, milliseconds: number, answer?: Answer) => void;
  /** @param token the owner of the turn, if known */
  spent: (profile: string, turn: Spent, token?: string) => void;
  /** Counts a turn whose cost the CLI did not report. */
  costUnseen: (profile: string) => void;
  recycled: (reason: string) => void;
  /** Counts a turn whose process was lost. */
  lost: (reason: string, carriedOn: boolean) => void;
  /** Counts a request without a valid token. */
  authFailure: (reason: 'missing' | 'unknown') => void;
  /** Counts an event of the login file. */
  credentials: (event: CredentialsEvent) => void;
  /** Counts a due refresh of the login that did not happen. */
  refreshFailed: (reason: RefreshFailure) => void;
  /** Counts an answered turn that is missing on a full volume. */
  turnUnkept: () => void;
  /** Counts the reaction to a change of executable configuration. */
  configurationChanged: (action: GuardAction) => void;
  /** Counts a session that retention removed. */
  sessionRemoved: (reason: string) => void;
  /** Counts a prompt of an API for other clients, by how it got its session. */
  conversation: (origin: SessionOrigin) => void;
  /** Counts a checkout for a session. */
  checkout: (outcome: CheckoutOutcome) => void;
  /** Counts the end of a turn whose commits were to be published. */
  published: (outcome: PublishOutcome) => void;
  mirrorRemoved: (reason: MirrorRemoval) => void;
}

const second = 1_000;

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  registerGauges(sources, registry);
  /** Initialised to 0 for each of these label values. */
  const counter = <L extends string>(
    name: string,
    help: string,
    label: L,
    values: readonly string[],
  ) => {
    const made = new Counter({ name, help, labelNames: [label], registers: [registry] });
    for (const value of values) made.inc({ [label]: value } as Record<L, string>, 0);
    return made;
  };
  const turns = registerTurns(sources, registry);
  const jobs = registerJobs(() => sources.jobs?.(), registry);
  const { prompts, duration, queued, firstToken, cost, costByToken, tokens } = turns;
  const recycles = counter(
    'berth_worker_recycles_total',
    'Workers ended, by reason',
    'reason',
    recycleReasons,
  );
  const carriedOn = counter(
    'berth_turns_carried_on_total',
    'Turns that continued in another process, by the reason of the loss of their process',
    'reason',
    lossReasons,
  );
  const lost = counter(
    'berth_turns_lost_total',
    'Turns that did not continue after the loss of their process',
    'reason',
    lossReasons,
  );
  const authFailures = counter(
    'berth_auth_failures_total',
    'Requests without a token (missing) or with an invalid token (unknown)',
    'reason',
    ['missing', 'unknown'],
  );
  const removals = counter(
    'berth_sessions_removed_total',
    'Sessions removed for their age or for the disk budget',
    'reason',
    removalReasons,
  );
  const conversations = counter(
    'berth_conversations_total',
    'Prompts of /v1/messages, /v1/chat/completions and /v1/responses, by their session: new, continued (its process is usually warm), forked (an earlier history), or history (a new session that got the history as text)',
    'session',
    sessionOrigins,
  );
  const credentials = counter(
    'berth_credentials_events_total',
    'Events of the login file: its states, and refreshed, put_back, adopted',
    'event',
    credentialsEvents,
  );
  const refreshFailures = counter(
    'berth_credentials_refresh_failures_total',
    'Due refreshes that did not happen: refused by the login server, failed with a turn, or postponed while the old access token is valid',
    'reason',
    ['refused', 'failed', 'postponed'],
  );
  const configuration = counter(
    'berth_configuration_changes_total',
    'Changes of executable configuration while CLIs ran: reverted (restored), moved away (set_aside), or neither (failed)',
    'action',
    guardActions,
  );
  const unkept = new Counter({
    name: 'berth_turns_unkept_total',
    help: "Answered turns that are missing in their session's transcript, because the volume is full",
    registers: [registry],
  });
  const losses: Losses = { recycles: {}, carriedOn: {}, lost: {} };
  const count = (name: keyof Losses, reason: string): void => {
    losses[name][reason] = (losses[name][reason] ?? 0) + 1;
    ({ recycles, carriedOn, lost })[name].inc({ reason });
  };
  return {
    registry,
    losses,
    ...jobs,
    ...registerMcp(registry),
    ...registerApprovals(() => sources.approvals?.() ?? 0, registry),
    prompt: (profile, outcome, milliseconds, answer) => {
      turns.begin(profile);
      prompts.inc({ outcome, profile });
      duration.observe({ outcome, profile }, milliseconds / second);
      if (!answer) return;
      queued.observe({ profile }, answer.queued_ms / second);
      if (answer.ttft_ms !== null) firstToken.observe({ profile }, answer.ttft_ms / second);
    },
    spent: (profile, { costUsd, usage }, token) => {
      turns.begin(profile);
      cost.inc({ profile }, costUsd);
      if (token !== undefined) costByToken.inc({ token }, costUsd);
      tokens.inc({ kind: 'input', profile }, usage.input_tokens);
      tokens.inc({ kind: 'output', profile }, usage.output_tokens);
      tokens.inc({ kind: 'cache_write', profile }, usage.cache_creation_input_tokens);
      tokens.inc({ kind: 'cache_read', profile }, usage.cache_read_input_tokens);
    },
    costUnseen: (profile) => {
      turns.begin(profile);
      turns.costUnseen.inc({ profile });
    },
    recycled: (reason) => count('recycles', reason),
    lost: (reason, continues) => count(continues ? 'carriedOn' : 'lost', reason),
    authFailure: (reason) => authFailures.inc({ reason }),
    credentials: (event) => credentials.inc({ event }),
    refreshFailed: (reason) => refreshFailures.inc({ reason }),
    turnUnkept: () => unkept.inc(),
    configurationChanged: (action) => configuration.inc({ action }),
    sessionRemoved: (reason) => removals.inc({ reason }),
    conversation: (session) => conversations.inc({ session }),
    ...registerWorkspaces(sources.checkouts, registry),
  };
}
