/**
 * What the Grafana dashboard shows, in rows: each panel with its queries. `@` in a query stands for the
 * labels of the deployment that is looked at. Every metric and label here is one of the supervisor's
 * (test/dashboard.test.ts).
 */

export interface Panel {
  title: string;
  /** What a person makes of it. */
  means: string;
  /** One value instead of a curve. */
  stat?: true;
  /** Of Grafana's units. */
  unit: string;
  /** Areas on top of each other instead of lines. */
  stacked?: true;
  /** From this value on it is told in orange, and in red. */
  warn?: readonly [orange: number, red: number];
  /** By legend: PromQL. */
  queries: Readonly<Record<string, string>>;
}

/** The time to or since a timestamp; no value where that is NaN. */
const until = (metric: string): string => `min(${metric}{@} > 0) - time()`;
const since = (metric: string): string => `time() - max(${metric}{@} > 0)`;
const quantiles = (metric: string, more = ''): Record<string, string> =>
  Object.fromEntries(
    [0.5, 0.95].map((share) => [
      `p${share * 100}`,
      `histogram_quantile(${share}, sum by (le) (rate(${metric}_bucket{@${more}}[$__rate_interval])))`,
    ]),
  );
const perMinute = (metric: string, by: string, more = ''): string =>
  `60 * sum by (${by}) (rate(${metric}{@${more}}[$__rate_interval]))`;
const counted = (metric: string, by: string): string =>
  `sum by (${by}) (increase(${metric}{@}[$__rate_interval]))`;

export const rows: Readonly<Record<string, readonly Panel[]>> = {
  Now: [
    {
      ...{ title: 'Running prompts', stat: true, unit: 'short' },
      means: 'Workers that are in a turn.',
      queries: { busy: 'sum(berth_workers{@,state="busy"})' },
    },
    {
      ...{ title: 'Queue', stat: true, unit: 'short', warn: [1, 20] },
      means: 'Prompts that wait for a worker.',
      queries: { waiting: 'sum(berth_queue_length{@})' },
    },
    {
      ...{ title: 'Not answered', stat: true, unit: 'percentunit', warn: [0.05, 0.2] },
      means: 'Share of the prompts of the shown time that ended with an error.',
      queries: {
        failed:
          '1 - sum(increase(berth_prompts_total{@,outcome="ok"}[$__range])) / sum(increase(berth_prompts_total{@}[$__range]))',
      },
    },
    {
      ...{ title: 'Refused', stat: true, unit: 'short', warn: [1, 1] },
      means:
        'Reasons for which all prompts are refused now: no login, paused, at a limit, workers that do not start.',
      queries: {
        'no login': 'max(berth_login_lost{@})',
        paused: 'max(berth_paused{@})',
        limit: 'max(berth_limit_closed{@})',
        'no worker': 'max(berth_launch_failing{@})',
      },
    },
    {
      ...{ title: 'Spent today', stat: true, unit: 'currencyUSD' },
      means: 'At list prices, whatever the login pays; UTC day.',
      queries: { spent: 'sum(berth_spent_today_usd{@})' },
    },
    {
      ...{ title: 'Version', stat: true, unit: 'none' },
      means: 'Of berth, by pod.',
      queries: { '{{version}}': 'sum by (version) (berth_build_info{@})' },
    },
  ],
  Prompts: [
    {
      ...{ title: 'Prompts a minute', unit: 'short', stacked: true },
      means: 'By outcome: ok, or the code of the error.',
      queries: { '{{outcome}}': perMinute('berth_prompts_total', 'outcome') },
    },
    {
      ...{ title: 'Errors a minute', unit: 'short', stacked: true },
      means: 'The same without those that were answered; docs/openapi.json has the codes.',
      queries: { '{{outcome}}': perMinute('berth_prompts_total', 'outcome', ',outcome!="ok"') },
    },
    {
      ...{ title: 'Latency', unit: 's' },
      means: 'From acceptance to the answer, of prompts that were answered.',
      queries: quantiles('berth_prompt_duration_seconds', ',outcome="ok"'),
    },
    {
      ...{ title: 'Time to the first token', unit: 's' },
      means: 'From the begin of the turn: the model API and the network.',
      queries: quantiles('berth_time_to_first_token_seconds'),
    },
    {
      ...{ title: 'Wait for a worker', unit: 's' },
      means: 'If it is long, raise BERTH_MAX_WORKERS (and memory), or BERTH_WARM_WORKERS.',
      queries: quantiles('berth_queue_wait_seconds'),
    },
    {
      ...{ title: 'Queue and workers', unit: 'short' },
      means: 'Prompts that wait, and CLI processes by state.',
      queries: {
        waiting: 'sum(berth_queue_length{@})',
        '{{state}}': 'sum by (state) (berth_workers{@})',
      },
    },
  ],
  Memory: [
    {
      ...{ title: 'Container', unit: 'bytes' },
      means: "The container's working set against its limit and BERTH_MEMORY_SOFT and _HARD.",
      queries: {
        'working set': 'sum by (pod) (berth_memory_working_set_bytes{@})',
        workers: 'sum by (pod) (berth_workers_memory_bytes{@})',
        soft: 'max(berth_memory_soft_bytes{@})',
        hard: 'max(berth_memory_hard_bytes{@})',
        limit: 'max(berth_memory_limit_bytes{@})',
      },
    },
    {
      ...{ title: 'Each worker', unit: 'bytes' },
      means:
        'The process tree of each worker against BERTH_WORKER_MEMORY_SOFT and _HARD; a slot is taken again.',
      queries: {
        'worker {{slot}}': 'max by (pod, slot) (berth_worker_memory_bytes{@})',
        soft: 'max(berth_worker_memory_soft_bytes{@})',
        hard: 'max(berth_worker_memory_hard_bytes{@})',
      },
    },
    {
      ...{ title: 'Recycles', unit: 'short', stacked: true },
      means: 'Workers ended, by reason.',
      queries: { '{{reason}}': counted('berth_worker_recycles_total', 'reason') },
    },
    {
      ...{ title: 'For memory', unit: 'short', stacked: true },
      means: 'By which bound memory had a worker recycled, and processes that the kernel killed.',
      queries: {
        '{{cause}}': counted('berth_memory_decisions_total', 'cause'),
        'kernel kills': 'sum(increase(berth_memory_oom_kills_total{@}[$__rate_interval]))',
      },
    },
    {
      ...{ title: 'Turns whose worker was lost', unit: 'short', stacked: true },
      means: 'Carried on in another worker, or lost, by reason.',
      queries: {
        'carried on: {{reason}}': counted('berth_turns_carried_on_total', 'reason'),
        'lost: {{reason}}': counted('berth_turns_lost_total', 'reason'),
      },
    },
    {
      ...{ title: 'Pressure', unit: 'percentunit' },
      means: 'Share of the time in which some process waited for memory (cgroup v2).',
      queries: { stalled: 'max by (pod) (berth_memory_stalled_ratio{@})' },
    },
  ],
  Login: [
    {
      ...{ title: 'A person must log in within', stat: true, unit: 's' },
      means: 'Empty where berth cannot know it. Then `berth login`, see docs/credentials.md.',
      queries: { left: until('berth_login_expiry_timestamp_seconds') },
    },
    {
      ...{ title: 'Access token ends in', stat: true, unit: 's' },
      means: 'The CLI refreshes it by itself when it is near.',
      queries: { left: until('berth_credentials_expiry_timestamp_seconds') },
    },
    {
      ...{ title: 'Since the last refresh', stat: true, unit: 's' },
      means: 'That berth has seen since its start.',
      queries: { ago: since('berth_credentials_refreshed_timestamp_seconds') },
    },
    {
      ...{ title: 'What happened to the login', unit: 'short', stacked: true },
      means: 'What was seen of the login file, and what berth did about it.',
      queries: { '{{event}}': counted('berth_credentials_events_total', 'event') },
    },
    {
      ...{ title: 'Refreshes that failed', unit: 'short', stacked: true },
      means:
        'Refused by the login server, failed with a turn, or postponed while the old token is good.',
      queries: { '{{reason}}': counted('berth_credentials_refresh_failures_total', 'reason') },
    },
    {
      ...{ title: 'Since the live Secret was as new as the volume', stat: true, unit: 's' },
      means: 'Only with write-back; some five minutes are usual.',
      queries: { ago: since('berth_write_back_success_timestamp_seconds') },
    },
    {
      ...{ title: 'Write-back that failed', unit: 'short', stacked: true },
      means: 'By reason; docs/credentials.md says what to do about each.',
      queries: { '{{reason}}': counted('berth_write_back_failures_total', 'reason') },
    },
    {
      ...{ title: "Used of the account's limits", unit: 'percentunit' },
      means: 'By window, as the API told it last.',
      queries: { '{{window}}': 'max by (window) (berth_limit_utilization_ratio{@})' },
    },
    {
      ...{ title: 'Requests without a valid token', unit: 'short', stacked: true },
      means: 'To berth: without a token (missing) or with one that nobody has (unknown).',
      queries: { '{{reason}}': counted('berth_auth_failures_total', 'reason') },
    },
  ],
  'Tokens and cost': [
    {
      ...{ title: 'Tokens a minute', unit: 'short', stacked: true },
      means: 'By kind.',
      queries: { '{{kind}}': perMinute('berth_tokens_total', 'kind') },
    },
    {
      ...{ title: 'Cost', unit: 'currencyUSD', stacked: true },
      means: 'By profile, at list prices.',
      queries: { '{{profile}}': counted('berth_cost_usd_total', 'profile') },
    },
    {
      ...{ title: 'Spent today', unit: 'currencyUSD' },
      means: 'Against BERTH_DAILY_BUDGET, if there is one.',
      queries: {
        spent: 'sum(berth_spent_today_usd{@})',
        budget: 'max(berth_daily_budget_usd{@})',
      },
    },
  ],
  'Configuration and volume': [
    {
      ...{ title: 'The last init', stat: true, unit: 'none' },
      means:
        'current: as the git server has it; without_server: went on with what was there; unknown: no report.',
      queries: { '{{result}}': 'sum by (result) (berth_init_result{@})' },
    },
    {
      ...{ title: 'Commit', stat: true, unit: 'none' },
      means: 'Of the .claude repository, and how init found the volume (docs/init.md).',
      queries: { '{{commit}} ({{volume}})': 'sum by (commit, volume) (berth_init_info{@})' },
    },
    {
      ...{ title: 'Age of the configuration', stat: true, unit: 's' },
      means: 'Since init ran, and since the git server last confirmed the commit.',
      queries: {
        'init ran': since('berth_init_last_run_timestamp_seconds'),
        confirmed: since('berth_init_confirmed_timestamp_seconds'),
      },
    },
    {
      ...{ title: 'Local copies that wait', stat: true, unit: 'short', warn: [1, 100] },
      means: 'Files in .berth/conflicts/: take what you want to keep, and remove them.',
      queries: { files: 'sum(berth_conflicts{@})' },
    },
    {
      ...{ title: 'What init did', unit: 'short' },
      means: 'Files by what became of them, and whether it went on without the git server.',
      queries: {
        '{{change}}': 'max by (change) (berth_init_files{@}) > 0',
        'without the server': 'max(berth_init_continued_on_old_state{@})',
      },
    },
    {
      ...{ title: 'Duration of init', unit: 's' },
      means: 'docs/performance.md has what to expect.',
      queries: { init: 'max(berth_init_duration_seconds{@})' },
    },
    {
      ...{ title: 'Disk', unit: 'percentunit' },
      means: 'Free share of the file systems on which the CLI writes.',
      queries: {
        '{{path}}': 'min by (path) (berth_disk_free_bytes{@} / berth_disk_size_bytes{@})',
      },
    },
    {
      ...{ title: 'Sessions', unit: 'short' },
      means: 'That can be continued, and those that were removed, by reason.',
      queries: {
        sessions: 'sum(berth_sessions{@})',
        'removed: {{reason}}': counted('berth_sessions_removed_total', 'reason'),
      },
    },
    {
      ...{ title: 'The supervisor itself', unit: 'bytes' },
      means: 'Its own memory; it should stay level.',
      queries: { resident: 'max by (pod) (process_resident_memory_bytes{@})' },
    },
  ],
};
