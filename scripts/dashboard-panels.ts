/**
 * Lists the panels of the Grafana dashboard in rows, each with its queries. `@` in a query stands
 * for the labels of the selected deployment. The first row has the summary; the other rows help to
 * find a cause. Tests check that each metric and label here is one of the programs'
 * (test/dashboard.test.ts), and that each panel shows the events of a pod
 * (test/series/dashboard-pod.test.ts).
 */
import { counted, type Panel, p95, since, until } from './dashboard-panel.ts';

const minute = 60;
const hour = 3_600;
const day = 86_400;

/** For example `3 weeks, 6 days`. */
const ago = { stat: true, unit: 'dtdurations', decimals: 1 } as const;
const yesNo = { stat: true, unit: 'none', width: 3 } as const;

export const rows: Readonly<Record<string, readonly Panel[]>> = {
  'At a glance': [
    {
      ...{ title: 'Ready', ...yesNo, warnBelow: [1, 1], words: ['no', 'yes'] },
      means:
        '/readyz: berth holds the lease of the volume, the CLI has passed its self-test, and berth does not drain.',
      queries: { ready: 'min(berth_ready{@})' },
    },
    {
      ...{ title: 'Prompts refused', ...yesNo, warn: [1, 1], words: ['no', 'yes'] },
      means: 'No login, paused, the account is at a limit, or workers of a profile do not start.',
      queries: {
        // No account is known before the first prompt, and while the login is lost there is no first prompt.
        refused:
          'max(berth_login_lost{@}) + max(berth_paused{@}) + (max(berth_limit_closed{@}) or vector(0)) + max(berth_launch_failing{@}) > bool 0',
      },
    },
    {
      ...{ title: 'Not answered', stat: true, width: 3, unit: 'percentunit', decimals: 1 },
      warn: [0.05, 0.2],
      means: 'Share of the prompts of the shown time that ended with an error.',
      queries: {
        failed:
          '1 - sum(increase(berth_prompts_total{@,outcome="ok"}[$__range])) / sum(increase(berth_prompts_total{@}[$__range]))',
      },
    },
    {
      ...{ title: 'Queue', stat: true, width: 3, unit: 'short', warn: [1, 20] },
      means: 'Prompts that wait for a worker.',
      queries: { waiting: 'sum(berth_queue_length{@})' },
    },
    {
      ...{ title: 'Login ends in', ...ago, width: 3, warnBelow: [7 * day, 3 * day] },
      means:
        'A person must log in again by then: `berth login`, see docs/credentials.md. Empty if the time is unknown.',
      queries: { left: until('berth_login_expiry_timestamp_seconds') },
    },
    {
      ...{ title: 'Restarts, 24 h', stat: true, width: 3, unit: 'short', warn: [2, 5] },
      means:
        'Starts of the runtime after the first of these 24 hours, in the same pod or in a new one.',
      queries: {
        restarts:
          'sum(changes(process_start_time_seconds{@}[24h]) and on (pod, instance) berth_ready{@}) + count(count_over_time(berth_ready{@}[24h])) - count(berth_ready{@})',
      },
    },
    {
      ...{ title: 'Killed, 24 h', stat: true, width: 3, unit: 'short', decimals: 0, warn: [1, 5] },
      means:
        'Processes that the kernel killed for memory, and turns that were lost with their worker. berth should prevent both.',
      queries: {
        kills:
          '(sum(increase(berth_memory_oom_kills_total{@}[24h])) or vector(0)) + sum(increase(berth_turns_lost_total{@}[24h]))',
      },
    },
    {
      ...{ title: 'Version', stat: true, named: true, width: 3, unit: 'none' },
      means: 'The version of berth.',
      queries: { '{{version}}': 'sum by (version) (berth_build_info{@})' },
    },
    {
      ...{ title: 'Used of the account', stat: true, width: 6, unit: 'percentunit', decimals: 0 },
      warn: [0.75, 0.95],
      means:
        'By window, as last reported; 0 after the end of a window. Empty while the use is unknown, and for logins without a subscription.',
      queries: { '{{window}}': 'max by (window) (berth_quota_used_ratio{@})' },
    },
    {
      ...{ title: 'The window ends in', ...ago, width: 6 },
      means: 'The end of the window; its use is then reset to zero.',
      queries: {
        '{{window}}': 'max by (window) (berth_quota_reset_timestamp_seconds{@}) - time() > 0',
      },
    },
    {
      ...{ title: 'Spent today', stat: true, width: 6, unit: 'currencyUSD', decimals: 2 },
      means: 'By API token, at list prices, since midnight in UTC, also with a subscription.',
      queries: { '{{token}}': 'sum by (token) (berth_token_spent_today_usd{@}) > 0' },
    },
    {
      ...{ title: 'Spent in 30 days', stat: true, width: 6, unit: 'currencyUSD', decimals: 2 },
      means:
        'By API token, at list prices; as far back as Prometheus keeps samples (kube-prometheus-stack: 10 days).',
      queries: {
        '{{token}}': 'sum by (token) (increase(berth_token_cost_usd_total{@}[30d])) > 0',
      },
    },
  ],
  Prompts: [
    {
      ...{ title: 'Prompts a minute', unit: 'short', stacked: true },
      means: 'Prompts that were answered, and prompts that ended with an error.',
      colors: { answered: 'green', 'not answered': 'red' },
      queries: {
        'not answered': '60 * sum(rate(berth_prompts_total{@,outcome!="ok"}[$__rate_interval]))',
        answered: '60 * sum(rate(berth_prompts_total{@,outcome="ok"}[$__rate_interval]))',
      },
    },
    {
      ...{ title: 'Errors', unit: 'short', events: true },
      means: 'Prompts that were not answered, by error code; docs/openapi.json lists the codes.',
      queries: { '{{outcome}}': counted('berth_prompts_total', 'outcome', ',outcome!="ok"') },
    },
    {
      ...{ title: 'How long, p95', unit: 's' },
      means:
        'Answered prompts: the total time, the wait for a worker (raise BERTH_MAX_WORKERS and memory), and the time from the start of the turn to the first token (the model API and the network).',
      colors: { answer: 'blue', 'wait for a worker': 'red', 'first token': 'green' },
      queries: {
        answer: p95('berth_prompt_duration_seconds', ',outcome="ok"'),
        'wait for a worker': p95('berth_queue_wait_seconds'),
        'first token': p95('berth_time_to_first_token_seconds'),
      },
    },
    {
      ...{ title: 'Cost an hour', unit: 'currencyUSD', stacked: true },
      means: 'By API token, at list prices.',
      queries: {
        '{{token}}': `${hour} * sum by (token) (rate(berth_token_cost_usd_total{@}[$__rate_interval]))`,
      },
    },
  ],
  Jobs: [
    {
      ...{ title: 'Jobs that have not ended', unit: 'short' },
      means:
        'Queued jobs wait for a worker, parked jobs for the end of a limit, scheduled jobs for their time. With a store that replicas share, the figures are those of all replicas.',
      colors: { running: 'blue', queued: 'red', parked: 'orange', scheduled: 'green' },
      queries: Object.fromEntries(
        ['running', 'queued', 'parked', 'scheduled'].map((state) => [
          state,
          `max(berth_jobs{@,state="${state}"})`,
        ]),
      ),
    },
    {
      ...{ title: 'Jobs that ended', unit: 'short', events: true },
      means: 'By state: succeeded, failed (for good), cancelled, expired.',
      queries: { '{{state}}': counted('berth_jobs_ended_total', 'state') },
    },
    {
      ...{ title: 'Runs and callbacks', unit: 'short', events: true },
      means:
        'Runs of jobs by outcome; parked and requeued runs count as no attempt. Requests of callbacks, and approvals with the requests to their webhooks, by outcome.',
      queries: {
        'run {{outcome}}': counted('berth_job_runs_total', 'outcome'),
        'callback {{outcome}}': counted('berth_job_callbacks_total', 'outcome'),
        'approval {{outcome}}': counted('berth_approvals_total', 'outcome'),
        'webhook {{outcome}}': counted('berth_approval_notices_total', 'outcome'),
        'approval waits': 'sum(berth_approvals_waiting{@})',
      },
    },
    {
      ...{ title: 'Parked by reason', unit: 'short', width: 3, stacked: true },
      means: 'Why jobs wait, by the code of the error that a prompt would have had.',
      queries: { '{{reason}}': 'max by (reason) (berth_jobs_parked{@})' },
    },
    {
      ...{ title: 'The oldest waits', ...ago, width: 3, warn: [hour / 2, hour] },
      means: 'How long the oldest queued job waits for a worker; empty if no job waits.',
      queries: { ago: since('berth_jobs_oldest_queued_timestamp_seconds') },
    },
  ],
  'Workers and memory': [
    {
      ...{ title: 'Busy and waiting', unit: 'short' },
      means: 'Waiting prompts, workers in a turn, and all CLI processes.',
      colors: { waiting: 'red', busy: 'blue', workers: 'green' },
      queries: {
        waiting: 'sum(berth_queue_length{@})',
        busy: 'sum(berth_workers{@,state="busy"})',
        workers: 'sum(berth_workers{@})',
      },
    },
    {
      ...{ title: 'Container', unit: 'bytes' },
      means: "The container's working set with its limit, BERTH_MEMORY_SOFT and BERTH_MEMORY_HARD.",
      colors: { 'working set': 'blue' },
      bounds: { soft: 'yellow', hard: 'orange', limit: 'red' },
      queries: {
        'working set': 'max(berth_memory_working_set_bytes{@})',
        soft: 'max(berth_memory_soft_bytes{@})',
        hard: 'max(berth_memory_hard_bytes{@})',
        limit: 'max(berth_memory_limit_bytes{@})',
      },
    },
    {
      ...{ title: 'The largest worker', unit: 'bytes' },
      means:
        'The process tree of the largest worker, with BERTH_WORKER_MEMORY_SOFT and BERTH_WORKER_MEMORY_HARD. `berth_worker_memory_bytes` has every worker.',
      colors: { largest: 'blue' },
      bounds: { soft: 'yellow', hard: 'orange' },
      queries: {
        largest: 'max(berth_worker_memory_bytes_max{@})',
        soft: 'max(berth_worker_memory_soft_bytes{@})',
        hard: 'max(berth_worker_memory_hard_bytes{@})',
      },
    },
    {
      ...{ title: 'Recycles and kills', unit: 'short', events: true },
      means:
        'Ended workers by reason, for memory by the exceeded bound; turns that lost their worker; processes that the kernel killed.',
      queries: {
        '{{reason}}': counted('berth_worker_recycles_total', 'reason', ',reason!="memory"'),
        'memory: {{cause}}': counted('berth_memory_decisions_total', 'cause'),
        'turn carried on: {{reason}}': counted('berth_turns_carried_on_total', 'reason'),
        'turn lost: {{reason}}': counted('berth_turns_lost_total', 'reason'),
        'killed by the kernel': `round(sum(increase(berth_memory_oom_kills_total{@}[$__rate_interval]))) > 0`,
      },
    },
  ],
  'Login, configuration, volume': [
    {
      ...{ title: 'Access token ends in', ...ago, width: 5, warnBelow: [0, -5 * minute] },
      means: 'The CLI refreshes the token shortly before its end.',
      queries: { left: until('berth_credentials_expiry_timestamp_seconds') },
    },
    {
      ...{ title: 'Since the live Secret had it', ...ago, width: 5 },
      warn: [15 * minute, 30 * minute],
      means:
        "Only with write-back: time since the live Secret had the volume's login; up to five minutes are normal.",
      queries: { ago: since('berth_write_back_success_timestamp_seconds') },
    },
    {
      ...{ title: 'The last init', stat: true, named: true, width: 4, unit: 'none' },
      means:
        'current: equal to the git server; without_server: init continued with the state on the volume; unknown: no report.',
      colors: { current: 'green', without_server: 'red', unknown: 'orange' },
      queries: { '{{result}}': 'sum by (result) (berth_init_result{@})' },
    },
    {
      ...{ title: 'Commit', stat: true, named: true, width: 4, unit: 'none' },
      means: 'The commit of the .claude repository on the volume.',
      queries: {
        '{{commit}}':
          'sum by (commit) (label_replace(berth_init_info{@}, "commit", "$1", "commit", "(.{10}).*"))',
      },
    },
    {
      ...{ title: 'Local copies', stat: true, width: 3, unit: 'short', warn: [1, 100] },
      means:
        'Files in .berth/conflicts/: check them, add useful edits to the repository, and remove the files.',
      queries: { files: 'sum(berth_conflicts{@})' },
    },
    {
      ...{ title: 'Fullest disk', stat: true, width: 3, unit: 'percentunit', decimals: 0 },
      warn: [0.8, 0.95],
      means: 'The used share of the fullest file system on which the CLI writes.',
      queries: { used: '1 - min(berth_disk_free_bytes{@} / berth_disk_size_bytes{@})' },
    },
    {
      ...{ title: 'What happened to the login', unit: 'short', events: true, width: 12 },
      means: 'States of the login file, actions of berth, and failed refreshes and write-backs.',
      queries: {
        '{{event}}': counted('berth_credentials_events_total', 'event'),
        'refresh {{reason}}': counted('berth_credentials_refresh_failures_total', 'reason'),
        'write-back: {{reason}}': counted('berth_write_back_failures_total', 'reason'),
      },
    },
    {
      ...{ title: 'Requests without a valid token', unit: 'short', events: true, width: 12 },
      means: 'Requests to berth without a token (missing) or with an unknown token (unknown).',
      queries: { '{{reason}}': counted('berth_auth_failures_total', 'reason') },
    },
  ],
  'Init that stays: sync, proposals, gateway': [
    {
      ...{ title: 'The git server answered', ...ago, width: 4, warn: [15 * minute, hour] },
      means: 'Only with BERTH_SYNC_INTERVAL: the time since the last answer about the refs.',
      queries: { ago: since('berth_sync_confirmed_timestamp_seconds') },
    },
    {
      ...{ title: 'Open proposal', stat: true, width: 4, unit: 'short' },
      means: 'Only with BERTH_PROPOSE_CHANGES: the files of the open pull request.',
      queries: { files: 'max(berth_proposals_files{@})' },
    },
    {
      ...{ title: 'Left out of the proposal', unit: 'short', width: 4, stacked: true },
      means:
        'Changed files on the volume that are not proposed. secret: check the file, it may have a secret.',
      queries: { '{{reason}}': 'max by (reason) (berth_proposals_left_out{@}) > 0' },
    },
    {
      ...{ title: 'Sync and proposals', unit: 'short', events: true, width: 6 },
      means: 'Changes of the volume by kind, and what became of the pull request.',
      queries: {
        'sync: {{kind}}': counted('berth_sync_passes_total', 'kind'),
        'proposal: {{result}}': counted(
          'berth_proposals_passes_total',
          'result',
          ',result=~"opened|updated|withdrawn|failed"',
        ),
        'proposal: {{how}}': counted('berth_proposals_ended_total', 'how'),
      },
    },
    {
      ...{ title: 'Requests to the gateway', unit: 'short', events: true, width: 6 },
      means:
        'Only with BERTH_GATEWAY_REPOS or BERTH_GATEWAY_PUSH: refused by a rule, failed at the git server, in the network or at a bound.',
      queries: {
        '{{operation}} {{outcome}}': counted('berth_gateway_requests_total', 'operation, outcome'),
      },
    },
  ],
};
