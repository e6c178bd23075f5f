/**
 * The list of all log events: names, levels, meanings and fields.
 * Invariants: the `event` of every line is a name of this list, so that Loki queries can rely on
 * it. A line has no fields beside those listed here and those that every line has. docs/logs.md is
 * generated from this list. The programs import only its types.
 */

/** @param fields names of the fields; an event within a prompt also has those of `promptFields` */
const event = (levels: string, means: string, fields = '') => ({
  levels: levels.split(' '),
  means,
  fields: fields.split(' ').filter(Boolean),
});

/** Fields of every line. */
export const commonFields = {
  level: '`debug`, `info`, `warn` or `error`',
  time: 'ISO 8601, UTC',
  service: '`berth-init`, `berth` or `berth-write-back`',
  version: "the program's",
  event: 'a name of the list below',
  msg: 'the message, for a person',
};

/** Fields that any line may have. */
export const optionalFields = {
  error: '`type`, `code`, `message`, `cause` (again these) and `stack`',
  truncated: 'true if texts were shortened to keep the line under 12 KiB',
};

/** Fields of lines that belong to a prompt. */
export const promptFields = {
  prompt_id: 'the `id` of the answer',
  token: 'the name of the API token',
  profile: 'the name of the profile',
  trace_id: 'of the `traceparent`, if the request had one',
};

export const eventsOfBoth = {
  started: event('debug info', 'the program has started', 'pid repository ref directory'),
  stopped: event('info warn', 'the program ends after a stop request'),
  failed: event(
    'error',
    'the program ends with an error, or a part of its work failed',
    'code exit_code url',
  ),
  unknown_setting: event('warn', 'a `BERTH_` variable has a name that is not a setting'),
  lease_waiting: event('info', 'waiting for the lease: another program holds the volume'),
  lease_acquired: event('debug', 'this program holds the lease on the volume', 'owner'),
  lease_lost: event('error', 'another program took the lease on the volume; this program ends'),
  lease_released: event('debug', 'this program released the lease on the volume', 'owner'),
  lease_left: event(
    'warn',
    'the lease could not be released; the next program waits until the lease expires',
  ),
  volume_repaired: event('warn', 'something damaged was repaired or set aside', 'path saved why'),
  credentials_applied: event(
    'info',
    'a login was written to the volume',
    'from changed expires_at login_expires_at refresh_token_id path',
  ),
  credentials_unreadable: event(
    'warn error',
    'a login file, or the record about a login, cannot be used',
    'from path interval_ms',
  ),
};

export const eventsOfInit = {
  gateway_started: event('info', 'the gateway serves git to the runtime container', 'url'),
  gateway_fetched: event(
    'info',
    'a tool fetched from a repository through the gateway',
    'repository bytes duration_ms agent session_id',
  ),
  gateway_pushed: event(
    'info',
    'a tool pushed branches through the gateway',
    'repository refs bytes duration_ms agent session_id',
  ),
  gateway_pull_request: event(
    'info',
    'a tool opened or updated a pull request through the gateway',
    'repository refs number created agent session_id',
  ),
  gateway_refused: event(
    'warn',
    'the gateway, or the git server, refused a request of a tool',
    'repository refs agent session_id',
  ),
  gateway_failed: event(
    'debug warn error',
    'a request of a tool failed at the git server, in the network or at a bound; debug: the tool itself ended it',
    'repository agent session_id refs',
  ),
  proposed: event(
    'info',
    'changes of the volume were proposed: a pull request was opened or updated',
    'number created url count paths',
  ),
  proposal_left_out: event(
    'warn',
    'a changed file is not proposed: it may have a secret, is too large, is not text, or upstream changed the same lines',
    'path why',
  ),
  proposal_ended: event('info', "berth's pull request was merged or closed", 'number merged'),
  proposal_withdrawn: event(
    'info',
    "no change is left on the volume: berth's pull request is closed",
    'number',
  ),
  proposal_held: event(
    'warn',
    'somebody pushed to the branch of the pull request: berth leaves it alone',
    'commit',
  ),
  proposal_failed: event(
    'warn',
    'changes of the volume could not be proposed; this is tried again',
    'attempt',
  ),
  staying: event('info', 'the volume is ready, and init stays to keep it current', 'port'),
  sync_failed: event(
    'warn',
    'the request for the refs, or a change of the volume, failed; it is tried again',
    'attempt',
  ),
  commit_rolled_back: event(
    'error',
    'no worker starts with the commit: the volume goes back to the last good commit',
    'commit last_good_commit why',
  ),
  commit_bad: event(
    'error',
    'no worker starts with the commit, and there is no earlier commit to go back to',
    'commit why',
  ),
  commits_set_aside: event(
    'warn',
    'the record of received commits is torn or was not written by init: it is moved to quarantine',
    'why saved',
  ),
  commits_unrecorded: event(
    'warn',
    'the received commits could not be recorded; a restart tries a bad commit again',
  ),
  sync_request_failed: event('warn', 'a request to the port of an init that stays failed'),
  setting_advice: event('warn', 'a setting is valid, but probably not what you intended'),
  preflight: event(
    'debug',
    'GitHub confirmed that the token can read the repository',
    'default_branch token_expires_at duration_ms',
  ),
  preflight_warning: event(
    'warn',
    "GitHub's API reported a problem that does not stop git",
    'renamed_to',
  ),
  token_expiring: event('warn', 'the git token expires soon', 'token_expires_at'),
  remote_resolved: event(
    'debug',
    'the git server returned the commit of the ref',
    'commit remote_ref',
  ),
  remote_retry: event('warn', 'the git server failed; the request is retried', 'attempt wait_ms'),
  remote_failed: event(
    'error',
    'init continues without the git server, with the state on the volume',
    'commit age_ms volume',
  ),
  fetched: event('debug', 'the commit was fetched from the git server', 'commit duration_ms'),
  volume_inspected: event('debug', 'the state of the volume was determined', 'state'),
  settings_invalid: event(
    'error',
    "the CLI would ignore the repository's settings.json, or a deny rule or a hook in settings.json (`BERTH_INVALID_SETTINGS`)",
    'path kept problems',
  ),
  config_drift: event(
    'warn',
    'executable configuration was edited on the volume (and replaced), or exists on the volume but not upstream',
    'path saved count paths',
  ),
  local_change: event(
    'info warn',
    "a local edit was kept or merged (info), or was saved in `conflicts/` and replaced by upstream's version (warn)",
    'path saved',
  ),
  path_skipped: event('warn', 'a path of the repository was not written', 'path why'),
  repository_unread: event(
    'warn',
    'the CLI reads no file of the repository: the files that the CLI reads are in `directories` instead of the root, or do not exist',
    'directories',
  ),
  lfs_pointer: event('warn', 'the pointer of an LFS file was written, not its content', 'path'),
  reconciled: event(
    'debug',
    'the tracked files equal the commit',
    'written restored merged removed kept conflicts drift skipped',
  ),
  credentials_kept: event(
    'debug',
    'the login on the volume was kept',
    'from changed expires_at login_expires_at refresh_token_id',
  ),
  credentials_missing: event('info warn', 'there is no usable login', 'from changed'),
  onboarding_answered: event(
    'debug warn',
    "the CLI's first-start questions were answered (onboarding)",
    'workspace size saved',
  ),
  cli_installed: event('info', 'the CLI was installed on the volume', 'url bytes duration_ms'),
  cli_damaged: event(
    'warn',
    'the CLI on the volume differed from the installed version and is installed again',
  ),
  cli_not_installed: event(
    'error',
    'the requested CLI could not be installed; the previous version is used',
  ),
  cli_removed: event('info', 'the CLI was removed from the volume, because no setting requests it'),
  ownership_changed: event(
    'info',
    "the owner of files was changed to the CLI's user",
    'changed uid gid',
  ),
  ownership_foreign: event(
    'warn',
    "files do not belong to the CLI's user, and their owner cannot be changed",
    'count',
  ),
  ownership_partial: event(
    'info',
    'init, not as root, checked the owner of a part of the files only: 20,000, or for 5 s',
    'checked',
  ),
  report: event(
    'info',
    'the last line of a successful run; [init.md](init.md#the-report) describes the fields',
    [
      'report_version repository ref commit previous_commit volume repairs remote remote_error',
      'problem confirmed_at age_ms written restored merged removed kept conflicts drift skipped',
      'untracked_executable credentials cli owned bytes finished_at duration_ms steps',
    ].join(' '),
  ),
};

export const eventsOfSupervisor = {
  workspace_ready: event(
    'info',
    'the working directory of a session has a checkout; `outcome` is `fetched`, `mirrored` or `remade`',
    'repository commit outcome duration_ms',
  ),
  workspace_failed: event('warn', 'a checkout could not be made', 'repository code'),
  workspace_published: event(
    'info',
    'the commits of a session were pushed',
    'session_id repository commit branch url',
  ),
  publish_failed: event(
    'warn',
    'the commits of a session could not be pushed, or the pull request not opened; they are kept',
    'session_id repository code',
  ),
  mirror_removed: event(
    'info warn',
    'a mirror of a repository was removed (info), or cannot be removed (warn)',
    'repository reason',
  ),
  listening: event('info', 'the server accepts prompts', 'address metrics_address cli_version'),
  descriptors_few: event(
    'warn',
    'the limit of open files allows only few connections',
    'descriptors connections',
  ),
  draining: event('info', 'the server is stopping and finishes running prompts', 'prompts'),
  settings_ignored: event(
    'error',
    'the CLI ignores settings.json, a rule or a hook in it, or another settings file; prompts are refused (`BERTH_SETTINGS_CHECK`)',
    'problems',
  ),
  settings_in_force: event('info', 'settings that the CLI ignored apply again'),
  cli_variable_ignored: event(
    'warn',
    'a variable of the container looks like a variable of the CLI, but is not passed to the CLI',
    'name',
  ),
  tokens_loaded: event('info error', 'the API tokens were read, or could not be read', 'names'),
  webhook_secret_loaded: event(
    'info error',
    'the secrets that sign callbacks were read again, or could not be read',
    'secrets',
  ),
  callback_delivered: event(
    'info',
    'a receiver accepted the callback of a job',
    'job_id host status attempts duration_ms',
  ),
  callback_retried: event(
    'info',
    'a callback was not accepted and will be sent again',
    'job_id host status attempts retry_ms cause',
  ),
  callback_failed: event(
    'error',
    'a callback is given up: the receiver refused it, or accepted it at no time within 24 hours',
    'job_id host status attempts cause',
  ),
  callbacks_unavailable: event(
    'warn info',
    'the store of jobs could not give the next callback (warn), or can again',
    'retry_ms',
  ),
  unclean_end: event(
    'warn',
    'the previous run did not shut down: it was killed (out of memory, or by the kubelet), its node failed, or an error ended it',
    'since',
  ),
  run_mark_failed: event(
    'warn',
    'the marker file could not be written; the next run cannot detect an unclean shutdown',
  ),
  token_plain: event('warn', 'an API token is stored in plain text, not as SHA-256'),
  profiles_loaded: event(
    'info warn error',
    'the profiles were read; or could not be read, so the previous profiles stay; or contain a setting without effect',
    'names revision added removed changed',
  ),
  auth_failed: event(
    'warn',
    'requests without a valid token; at most one line a minute',
    'missing unknown address',
  ),
  audit: event(
    'info',
    'an administrative action or the decision of an approval, allowed or refused',
    'token action reason session_id job_id approval_id tool profile asked_by refused',
  ),
  approval_requested: event(
    'info',
    'a call of a tool waits for the approval of a person',
    'approval_id tool token profile session_id job_id until',
  ),
  approval_ended: event(
    'info',
    'an approval was decided, its time is over, or its turn has ended',
    'approval_id tool token profile session_id job_id decision by waited_ms',
  ),
  approval_sent: event(
    'info',
    'the webhook of a profile has accepted the question of an approval',
    'approval_id host status attempts',
  ),
  approval_unsent: event(
    'warn error',
    'the question of an approval could not be sent to the webhook of its profile',
    'approval_id host status attempts cause retry_ms',
  ),
  paused: event('warn', 'the server is paused since before this start', 'by since'),
  pause_unreadable: event(
    'error',
    'the file of the pause cannot be read; the server stays paused',
    'reason',
  ),
  spending_unreadable: event('error', "the record of today's spending is damaged", 'reason saved'),
  spending_unrecorded: event(
    'error',
    "today's spending could not be recorded; a restart would lose it",
  ),
  prompts_counted_alone: event(
    'warn',
    'limits.prompts_per_hour counts the prompts of this replica alone: the shared store does not answer',
    'reason',
  ),
  usage_unknown: event(
    'debug',
    'the CLI could not read how much of its windows the account has used',
    'code',
  ),
  replica_unnamed: event(
    'warn',
    'the name by which Redis knows this replica cannot be kept on the volume',
    'path',
  ),
  accounts_unsaved: event(
    'warn',
    'the accounts of the logins cannot be saved: after a restart, jobs may wait for the limit of an account that is not used any more',
    'path',
  ),
  job_store_connected: event('info', 'Redis, the store of jobs, can be used'),
  job_store_unavailable: event(
    'error',
    'the store of jobs cannot be used, or accepts no new jobs: jobs are refused until it is back',
    'reason',
  ),
  job_store_unsafe: event('warn', 'Redis may lose jobs with its settings', 'problems'),
  job_store_unsubscribed: event(
    'warn',
    'Redis refuses the subscription to changes: what other replicas do is found later',
    'reason',
  ),
  job_store_subscribed: event('info', 'Redis accepts the subscription again'),
  cli_tested: event(
    'info warn',
    "the result of the CLI's self-test, or why it did not run; with `retry_ms`, why it is retried",
    'cli_version by duration_ms retry_ms',
  ),
  cli_set_back: event(
    'error',
    'the CLI version that init installed fails; the previous version is used',
  ),
  commit_unrecorded: event(
    'warn',
    'the last good commit could not be recorded; it is unknown after a restart',
  ),
  secrets_changed: event('info', 'Secrets that profiles refer to were rotated', 'profiles'),
  worker_starting: event('debug', 'a CLI process is starting', 'worker profile session_id'),
  worker_ready: event(
    'info',
    'a worker is ready for prompts',
    'worker pid profile session_id duration_ms',
  ),
  worker_failed: event(
    'error',
    'a worker could not be started',
    'worker profile session_id stderr',
  ),
  cli_problem: event(
    'warn',
    'the CLI reported that an MCP server is not connected, a plugin or skill was not loaded, or a hook failed; once for each `problem`',
    'profile kind name problem',
  ),
  cli_problem_over: event('info', 'a problem that the CLI reported is over', 'profile kind name'),
  spare_refused: event(
    'warn',
    'a shared spare did not accept the options of a prompt; a process of its own serves the prompt',
    'worker profile',
  ),
  worker_stray_output: event('warn', 'a worker wrote output that berth cannot interpret', 'worker'),
  unprompted_ended: event(
    'warn',
    'a worker that worked without a prompt was ended, because no work may run now',
    'worker session_id reason',
  ),
  session_claimed: event(
    'error',
    "a worker's output claimed the session of another worker (forged by a tool); the worker was ended",
    'worker session_id claimed',
  ),
  worker_ended: event(
    'debug warn',
    'a worker process ended; a warning if berth did not end it',
    'worker profile session_id exit_code signal',
  ),
  worker_recycled: event(
    'info',
    'a worker is being ended',
    'worker reason profile session_id age_ms',
  ),
  turn_started: event('debug', 'a prompt was sent to a worker', 'worker'),
  turn_finished: event(
    'info warn error',
    'a prompt was answered (info) or failed with a `code` (warn; error if that is `internal`)',
    [
      'code session_id num_turns duration_ms queued_ms ttft_ms recycled cost_usd hook',
      'input_tokens output_tokens cache_creation_input_tokens cache_read_input_tokens',
    ].join(' '),
  ),
  turn_carried_on: event(
    'warn',
    'the worker of a turn was lost and the turn continues in another worker; with the reason `login`: a new login arrived in time and the turn continues in the same worker',
    'worker reason session_id',
  ),
  cost_unseen: event(
    'error',
    'the CLI reported no cost for a turn; budgets count an estimate; use a tested CLI version (metric `berth_cost_unseen_total`)',
    'session_id cost_usd',
  ),
  reader_cut: event(
    'warn',
    'a client that does not read its stream was disconnected',
    'token backlog_bytes',
  ),
  limit_reached: event(
    'warn',
    'the account of a login reached a usage limit; prompts of the login are not sent',
    'login reason resets_at guessed utilization warnings',
  ),
  limit_lifted: event(
    'info',
    'a usage limit ended; prompts of the login are sent again',
    'login reason resets_at guessed utilization warnings',
  ),
  job_started: event('debug', 'a run of a job has begun', 'job_id token profile priority'),
  job_finished: event(
    'info warn',
    'a job has succeeded (info), or ended in another way with a `code` (warn)',
    'job_id token profile session_id state code duration_ms',
  ),
  job_parked: event(
    'info',
    'a job waits for the end of a limit, of a pause or of a fault; that spends no attempt',
    'job_id token profile session_id state reason until duration_ms',
  ),
  job_requeued: event(
    'info',
    'a job is queued again after a failed attempt, or because the server stops',
    'job_id token profile session_id state reason duration_ms',
  ),
  job_reclaimed: event(
    'warn',
    'a job is queued again, because the replica that ran it is gone',
    'job_id token profile session_id',
  ),
  job_unstored: event(
    'error',
    'the end of a run of a job cannot be stored; the next start continues that job',
    'job_id',
  ),
  job_accepted: event(
    'info',
    'a job was accepted, and is durable',
    'job_id token profile priority state',
  ),
  mcp_called: event('debug', 'an MCP client called a tool', 'tool token outcome code duration_ms'),
  mcp_rejected: event('debug', 'a message to /mcp is not of the protocol'),
  mcp_refused: event(
    'warn',
    'a request to /mcp was refused because of its Origin or Host: see BERTH_MCP_ORIGINS and BERTH_MCP_HOSTS',
    'token origin host',
  ),
  job_cancelled: event('info', 'a job was cancelled by its caller', 'job_id token profile'),
  job_retried: event('info', 'a failed job was queued again by its caller', 'job_id token profile'),
  session_unreadable: event(
    'warn',
    'a file that is not a valid session record was set aside',
    'session_id saved reason',
  ),
  session_unrecorded: event(
    'warn error',
    "a session's record could not be written or removed",
    'session_id',
  ),
  session_adopted: event(
    'info',
    'this replica took over a session of a lost replica, from the copy of its transcript in Redis',
    'session_id token profile bytes',
  ),
  session_unmirrored: event(
    'warn',
    'the transcript of a session cannot be copied to Redis, or a copy cannot be used',
    'session_id',
  ),
  session_removed: event('info', 'a session was removed', 'session_id reason'),
  sessions_loaded: event(
    'info warn error',
    'the records of sessions were read',
    'sessions unreadable directories_removed',
  ),
  job_store_recovered: event('info', 'the store of jobs can be used again'),
  job_store_damaged: event('error', 'the file of the jobs is damaged and is set aside', 'path'),
  jobs_salvaged: event(
    'warn',
    'jobs of a damaged file were saved; `failed` of them had lost their prompt, `refused` were no jobs',
    'saved failed refused',
  ),
  job_refused: event(
    'error',
    'a stored job cannot be used: it was set aside, or has failed because its request is lost',
    'job_id',
  ),
  jobs_removed: event('info', 'a retention round removed ended jobs', 'count duration_ms'),
  retention_round: event(
    'debug info',
    'a retention round removed old sessions',
    'expired over_budget leftovers failed bytes duration_ms',
  ),
  retention_failed: event(
    'warn error',
    'a retention round could not remove something',
    'session_id step_ms',
  ),
  turn_unkept: event(
    'error',
    "a turn was answered, but is missing in the session's transcript, because the volume is full",
    'session_id',
  ),
  configuration_changed: event(
    'error',
    'executable configuration was changed on the volume while CLIs run: the change was reverted (`restored`), a new file was moved away (`set_aside`), or reverting `failed`; [security.md](security.md#executable-configuration)',
    'path action saved why',
  ),
  configuration_synced: event(
    'info',
    'init has written a new commit to the volume; workers are renewed',
    'commit previous_commit',
  ),
  sync_unfinished: event(
    'warn',
    'init has not finished a change of the configuration in time; prompts are served again',
    'commit',
  ),
  configuration_distrusted: event(
    'error',
    'all worker processes are ended, because they may have read configuration that a tool changed',
  ),
  configuration_unkept: event(
    'warn',
    'an edit of executable configuration could not be reverted',
    'count paths',
  ),
  disk_low: event('warn', 'free disk space is low', 'path total free'),
  disk_full: event('error', 'the disk is full; no new session starts', 'path total free'),
  disk_recovered: event('info', 'there is enough disk space again', 'path total free'),
  memory_limit: event(
    'warn',
    'a worker is recycled because of its memory; the fields are the readings of that decision',
    [
      'worker action cause grace_ms pressure worker_bytes worker_growth_bytes_per_second',
      'worker_processes working_set_bytes growth_bytes_per_second limit_bytes soft_bytes hard_bytes',
      'worker_soft_bytes worker_hard_bytes stalled_percent oom_kills',
    ].join(' '),
  ),
  memory_pressure: event(
    'info',
    'the level of memory pressure changed',
    'pressure before working_set_bytes limit_bytes soft_bytes hard_bytes growth_bytes_per_second',
  ),
  memory_oom_kill: event('error', 'the kernel killed processes', 'oom_kills limit_bytes'),
  memory_unreadable: event('info', 'memory limits that do not apply, with the reason'),
  credentials_seen: event(
    'info error',
    "the CLI's login changed; an error if the login cannot be used",
    'state expires_at login_expires_at refresh_token_id from path',
  ),
  credentials_unkept: event(
    'error',
    'the record about the login could not be written; with `retry_ms`, the last good login could not be restored and will be retried',
    'attempts retry_ms',
  ),
  credentials_put_back: event(
    'warn',
    'the last good login was restored; with `waited_ms`, after failed attempts',
    'state refresh_token_id attempts waited_ms',
  ),
  credentials_lost: event('error', 'a person must log in', 'state'),
  credentials_refresh_failed: event(
    'warn error',
    'a due refresh of the login did not happen: `refused` by the login server (error), `failed` with a turn, `postponed` while the old access token is valid',
    'reason',
  ),
  credentials_of_one_pod: event(
    'info',
    'the login is a file that only one pod can use; several replicas need a setup-token or an API key',
  ),
  credentials_mounted: event(
    'warn error',
    'a login file is mounted in a way that hides changes',
    'path',
  ),
};

export const eventsOfWriteBack = {
  credentials_written_back: event(
    'info',
    'the login was written to the live Secret',
    'refresh_token_id expires_at source_digest duration_ms',
  ),
  write_back_kept: event(
    'debug warn',
    'the live Secret already has this login (debug), or keeps a different login (warn); `outcome` is the reason',
    'refresh_token_id expires_at source_digest duration_ms outcome',
  ),
  write_back_failed: event(
    'debug warn error',
    'the live Secret could not be written; a lasting failure is logged again every ten minutes',
    'reason status failures pending',
  ),
  write_back_recovered: event('info', 'the live Secret could be written again', 'failures'),
};

export type EventName =
  | keyof typeof eventsOfBoth
  | keyof typeof eventsOfInit
  | keyof typeof eventsOfSupervisor
  | keyof typeof eventsOfWriteBack;
