/**
 * What the Grafana dashboard shows, in rows: each panel with its queries. `@` in a query stands for the
 * labels of the deployment that is looked at. Every metric and label here is one of the programs'
 * (test/dashboard.test.ts), and every panel shows what a pod has done (test/e2e/dashboard.test.ts).
 */
import { counted, type Panel, perMinute, quantiles, since, until } from './dashboard-panel.ts';

const minute = 60;
const day = 86_400;

/** `3 weeks, 6 days` */
const ago = { stat: true, unit: 'dtdurations', decimals: 1 } as const;

export const rows: Readonly<Record<string, readonly Panel[]>> = {
  Now: [
    {
      ...{ title: 'Ready', stat: true, unit: 'none', warnBelow: [1, 1], words: ['no', 'yes'] },
      means:
        '/readyz: it holds the volume, the CLI has passed its self-test, and it does not drain.',
      queries: { ready: 'min(berth_ready{@})' },
    },
    {
      ...{ title: 'Prompts refused', stat: true, unit: 'none', warn: [1, 1], words: ['no', 'yes'] },
      means: 'No login, paused, the account is at a limit, or workers of a profile do not start.',
      queries: {
        refused:
          'max(berth_login_lost{@}) + max(berth_paused{@}) + max(berth_limit_closed{@}) + max(berth_launch_failing{@}) > bool 0',
      },
    },
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
      ...{ title: 'Not answered', stat: true, unit: 'percentunit', decimals: 1, warn: [0.05, 0.2] },
      means: 'Share of the prompts of the shown time that ended with an error.',
      queries: {
        failed:
          '1 - sum(increase(berth_prompts_total{@,outcome="ok"}[$__range])) / sum(increase(berth_prompts_total{@}[$__range]))',
      },
    },
    {
      ...{ title: 'Spent today', stat: true, unit: 'currencyUSD', decimals: 2 },
      means: 'At list prices, whatever the login pays, since midnight in UTC.',
      queries: { spent: 'sum(berth_spent_today_usd{@})' },
    },
    {
      ...{ title: 'Login ends in', ...ago, warnBelow: [7 * day, 3 * day] },
      means:
        'A person must log in again by then: `berth login`, see docs/credentials.md. Empty where berth cannot know it.',
      queries: { left: until('berth_login_expiry_timestamp_seconds') },
    },
    {
      ...{ title: 'Version', stat: true, unit: 'none' },
      means: 'Of berth.',
      queries: { '{{version}}': 'sum by (version) (berth_build_info{@})' },
    },
  ],
  Prompts: [
    {
      ...{ title: 'Prompts a minute', unit: 'short', stacked: true },
      means: 'Those that were answered, and those that ended with an error.',
      colors: { answered: 'green', 'not answered': 'red' },
      queries: {
        'not answered': '60 * sum(rate(berth_prompts_total{@,outcome!="ok"}[$__rate_interval]))',
        answered: '60 * sum(rate(berth_prompts_total{@,outcome="ok"}[$__rate_interval]))',
      },
    },
    {
      ...{ title: 'Errors', unit: 'short', events: true },
      means:
        'Prompts that were not answered, by the code of the error; docs/openapi.json has them.',
      queries: { '{{outcome}}': counted('berth_prompts_total', 'outcome', ',outcome!="ok"') },
    },
    {
      ...{ title: 'Queue and workers', unit: 'short', stacked: true },
      means: 'Prompts that wait, and CLI processes by state.',
      colors: {
        ...{ waiting: 'red', busy: 'blue', warm: 'green', idle: 'yellow' },
        ...{ starting: 'purple', recycling: 'dark-orange' },
      },
      apart: ['waiting'],
      queries: {
        waiting: 'sum(berth_queue_length{@})',
        '{{state}}': 'sum by (state) (berth_workers{@})',
      },
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
  ],
  Memory: [
    {
      ...{ title: 'Container', unit: 'bytes' },
      means: "The container's working set against its limit and BERTH_MEMORY_SOFT and _HARD.",
      colors: { 'working set': 'blue', workers: 'green' },
      bounds: { soft: 'yellow', hard: 'orange', limit: 'red' },
      queries: {
        'working set': 'max(berth_memory_working_set_bytes{@})',
        workers: 'max(berth_workers_memory_bytes{@})',
        soft: 'max(berth_memory_soft_bytes{@})',
        hard: 'max(berth_memory_hard_bytes{@})',
        limit: 'max(berth_memory_limit_bytes{@})',
      },
    },
    {
      ...{ title: 'Each worker', unit: 'bytes' },
      means:
        'The process tree of each worker against BERTH_WORKER_MEMORY_SOFT and _HARD; the number of one that is gone is given again.',
      bounds: { soft: 'yellow', hard: 'orange' },
      queries: {
        'worker {{slot}}': 'max by (pod, slot) (berth_worker_memory_bytes{@})',
        soft: 'max(berth_worker_memory_soft_bytes{@})',
        hard: 'max(berth_worker_memory_hard_bytes{@})',
      },
    },
    {
      ...{ title: 'Recycles', unit: 'short', events: true },
      means:
        'Workers ended, by reason; for memory by the bound that was reached; and processes that the kernel killed.',
      queries: {
        '{{reason}}': counted('berth_worker_recycles_total', 'reason', ',reason!="memory"'),
        'memory: {{cause}}': counted('berth_memory_decisions_total', 'cause'),
        'killed by the kernel': `round(sum(increase(berth_memory_oom_kills_total{@}[$__rate_interval]))) > 0`,
      },
    },
    {
      ...{ title: 'Turns whose worker was lost', unit: 'short', events: true },
      means: 'Carried on in another worker, or lost, by reason.',
      queries: {
        'carried on: {{reason}}': counted('berth_turns_carried_on_total', 'reason'),
        'lost: {{reason}}': counted('berth_turns_lost_total', 'reason'),
      },
    },
    {
      ...{ title: 'Processes and threads', unit: 'short' },
      means: 'Of the container, against its pids limit; empty without one.',
      bounds: { limit: 'red' },
      queries: {
        tasks: 'max(berth_tasks{@}) >= 0',
        limit: 'max(berth_tasks_limit{@}) >= 0',
      },
    },
    {
      ...{ title: 'Waiting for memory', unit: 'percentunit' },
      means:
        'Share of the time in which some process waited for memory: pressure before anything is killed. Empty without cgroup v2.',
      queries: { stalled: 'max(berth_memory_stalled_ratio{@}) >= 0' },
    },
  ],
  'Tokens and cost': [
    {
      ...{ title: 'Tokens a minute', unit: 'short', stacked: true },
      means: 'By kind.',
      queries: { '{{kind}}': perMinute('berth_tokens_total', 'kind') },
    },
    {
      ...{ title: 'Cost an hour', unit: 'currencyUSD', stacked: true },
      means: 'By profile, at list prices.',
      queries: {
        '{{profile}}': '3600 * sum by (profile) (rate(berth_cost_usd_total{@}[$__rate_interval]))',
      },
    },
    {
      ...{ title: 'Spent today', unit: 'currencyUSD' },
      means: 'Since midnight in UTC, against BERTH_DAILY_BUDGET_USD, if there is one.',
      bounds: { budget: 'red' },
      queries: {
        spent: 'sum(berth_spent_today_usd{@})',
        budget: 'max(berth_daily_budget_usd{@}) >= 0',
      },
    },
  ],
  Login: [
    {
      ...{ title: 'Access token ends in', ...ago, warnBelow: [0, -5 * minute] },
      means: 'The CLI refreshes it by itself when it is near.',
      queries: { left: until('berth_credentials_expiry_timestamp_seconds') },
    },
    {
      ...{ title: 'Since the last refresh', ...ago },
      means: 'That berth has seen since its start.',
      queries: { ago: since('berth_credentials_refreshed_timestamp_seconds') },
    },
    {
      ...{ title: 'Since the live Secret had the login', ...ago },
      warn: [15 * minute, 30 * minute],
      means: 'Only with write-back; up to five minutes are usual.',
      queries: { ago: since('berth_write_back_success_timestamp_seconds') },
    },
    {
      ...{ title: 'What happened to the login', unit: 'short', events: true },
      means:
        'What was seen of the login file, what berth did about it, and refreshes and write-backs that failed.',
      queries: {
        '{{event}}': counted('berth_credentials_events_total', 'event'),
        'refresh {{reason}}': counted('berth_credentials_refresh_failures_total', 'reason'),
        'write-back: {{reason}}': counted('berth_write_back_failures_total', 'reason'),
      },
    },
    {
      ...{ title: "Used of the account's limits", unit: 'percentunit', most: 1 },
      means: 'By window, as the API told it last: it does when much of it is used.',
      queries: { '{{window}}': 'max by (window) (berth_limit_utilization_ratio{@})' },
    },
    {
      ...{ title: 'Requests without a valid token', unit: 'short', events: true },
      means: 'To berth: without a token (missing) or with one that nobody has (unknown).',
      queries: { '{{reason}}': counted('berth_auth_failures_total', 'reason') },
    },
  ],
  'Configuration and volume': [
    {
      ...{ title: 'The last init', stat: true, unit: 'none' },
      means:
        'current: as the git server has it; without_server: went on with what was there; unknown: no report.',
      colors: { current: 'green', without_server: 'red', unknown: 'orange' },
      queries: { '{{result}}': 'sum by (result) (berth_init_result{@})' },
    },
    {
      ...{ title: 'Commit', stat: true, unit: 'none' },
      means: 'Of the .claude repository.',
      queries: {
        '{{commit}}':
          'sum by (commit) (label_replace(berth_init_info{@}, "commit", "$1", "commit", "(.{10}).*"))',
      },
    },
    {
      ...{ title: 'Duration of init', stat: true, unit: 's' },
      means: 'docs/performance.md has what to expect.',
      queries: { init: 'max(berth_init_duration_seconds{@})' },
    },
    {
      ...{ title: 'Configuration confirmed', ...ago },
      means: 'How long ago the git server last confirmed that commit.',
      queries: { ago: since('berth_init_confirmed_timestamp_seconds') },
    },
    {
      ...{ title: 'What init did', stat: true, unit: 'short' },
      means: 'Files, by what became of them (docs/init.md).',
      queries: { '{{change}}': 'max by (change) (berth_init_files{@}) > 0' },
    },
    {
      ...{ title: 'Local copies that wait', stat: true, unit: 'short', warn: [1, 100] },
      means: 'Files in .berth/conflicts/: take what you want to keep, and remove them.',
      queries: { files: 'sum(berth_conflicts{@})' },
    },
    {
      ...{ title: 'Disk used', unit: 'percentunit', most: 1 },
      means: 'Of the file systems on which the CLI writes.',
      queries: {
        '{{path}}': '1 - min by (path) (berth_disk_free_bytes{@} / berth_disk_size_bytes{@})',
      },
    },
    {
      ...{ title: 'Sessions', unit: 'short' },
      means: 'That can be continued. They go by BERTH_SESSION_RETENTION and BERTH_DISK_BUDGET.',
      queries: { sessions: 'sum(berth_sessions{@})' },
    },
    {
      ...{ title: 'The supervisor itself', unit: 'bytes' },
      means: 'Its own memory; it should stay level.',
      queries: {
        supervisor:
          'max(process_resident_memory_bytes{@} and on (pod, instance) berth_build_info{@})',
      },
    },
  ],
};
