/**
 * All log events: their names, the levels at which they come, what they mean and what fields a line of
 * theirs may have beside those that every line has. A line's `event` is one of these, so that a query in
 * Loki can rely on it; a new event is added here first. docs/logs.md is generated from this list, which
 * the programs know as types alone.
 */

/** @param fields by their names; of an event within a prompt also those of `promptFields` */
const event = (levels: string, means: string, fields = '') => ({
  levels: levels.split(' '),
  means,
  fields: fields.split(' ').filter(Boolean),
});

/** What every line has. */
export const commonFields = {
  level: '`debug`, `info`, `warn` or `error`',
  time: 'ISO 8601, UTC',
  service: '`berth-init`, `berth` or `berth-write-back`',
  version: "the program's",
  event: 'one of the list below',
  msg: 'for a person',
};

/** What any line may have. */
export const optionalFields = {
  error: '`type`, `code`, `message`, `cause` (again these) and `stack`',
  truncated: 'true where texts were cut so that the line stays under 12 KiB',
};

/** What lines have that belong to a prompt. */
export const promptFields = {
  prompt_id: 'the `id` of the answer',
  token: 'the name of the API token',
  profile: 'the name of the profile',
  trace_id: 'of the `traceparent`, if the request had one',
};

export const eventsOfBoth = {
  started: event('debug info', 'the program runs', 'pid repository ref directory'),
  stopped: event('info warn', 'it ends as it was told to'),
  failed: event(
    'error',
    'it ends with an error, or a part of its work failed',
    'code exit_code url',
  ),
  unknown_setting: event('warn', 'a `BERTH_` variable is no setting'),
  lease_waiting: event('info', 'another program holds the volume'),
  lease_acquired: event('debug', 'the volume is held', 'owner'),
  lease_lost: event('error', 'another program took the volume: this one ends'),
  lease_released: event('debug', 'the volume is free', 'owner'),
  lease_left: event('warn', 'the volume could not be given back; the next program waits a while'),
  volume_repaired: event('warn', 'something damaged was mended or set aside', 'path saved why'),
  credentials_applied: event(
    'info',
    'a login was put on the volume',
    'from changed expires_at login_expires_at refresh_token_id path',
  ),
  credentials_unreadable: event(
    'warn error',
    'a login, or what is known of it, is no good',
    'from path interval_ms',
  ),
};

export const eventsOfInit = {
  setting_advice: event('warn', 'a setting is right, but probably not what is meant'),
  preflight: event(
    'debug',
    'GitHub lets the token read the repository',
    'default_branch token_expires_at duration_ms',
  ),
  preflight_warning: event(
    'warn',
    "GitHub's API says something that git does not mind",
    'renamed_to',
  ),
  token_expiring: event('warn', 'the git token ends soon', 'token_expires_at'),
  remote_resolved: event(
    'debug',
    'the git server says which commit is wanted',
    'commit remote_ref',
  ),
  remote_retry: event('warn', 'the git server failed and is asked again', 'attempt wait_ms'),
  remote_failed: event(
    'error',
    'init goes on without the git server, with what is on the volume',
    'commit age_ms volume',
  ),
  fetched: event('debug', 'the commit was got from the server', 'commit duration_ms'),
  volume_inspected: event('debug', 'how the volume was found', 'state'),
  settings_invalid: event(
    'error',
    'the CLI would ignore settings.json of the repository, or a denial or a hook in it (`BERTH_INVALID_SETTINGS`)',
    'path kept problems',
  ),
  config_drift: event(
    'warn',
    'executable configuration was edited on the volume (replaced), or is there although upstream does not have it',
    'path count paths',
  ),
  local_change: event(
    'info warn',
    'an edit stays, is merged (info), or is saved in `conflicts/` because upstream took its place (warn)',
    'path saved',
  ),
  path_skipped: event('warn', 'a path of the repository is not written', 'path why'),
  repository_unread: event(
    'warn',
    'the CLI reads nothing of the repository: what it would read is not at the root, but in `directories`, or nowhere',
    'directories',
  ),
  lfs_pointer: event('warn', 'of an LFS file the pointer is written', 'path'),
  reconciled: event(
    'debug',
    'the tracked files are what the commit has',
    'written restored merged removed kept conflicts drift skipped',
  ),
  credentials_kept: event(
    'debug',
    'the login on the volume stays',
    'from changed expires_at login_expires_at refresh_token_id',
  ),
  credentials_missing: event('info warn', 'there is no login that can be used', 'from changed'),
  onboarding_answered: event(
    'debug warn',
    'what the CLI would ask a person at its first start is answered',
    'workspace size saved',
  ),
  cli_installed: event('info', 'the CLI was put on the volume', 'url bytes duration_ms'),
  cli_damaged: event('warn', 'the CLI on the volume was not what was installed, and is made anew'),
  cli_not_installed: event('error', 'the wanted CLI cannot be had; the one before it is used'),
  cli_removed: event('info', 'the CLI was removed from the volume, for no setting asks for it'),
  ownership_changed: event('info', 'files were given to the user of the CLI', 'changed uid gid'),
  ownership_foreign: event('warn', 'files are not, and cannot be made, those of the CLI', 'count'),
  report: event(
    'info',
    'the last line of a run that ended well; [init.md](init.md#the-report) has its fields',
    [
      'report_version repository ref commit previous_commit volume repairs remote remote_error',
      'problem confirmed_at age_ms written restored merged removed kept conflicts drift skipped',
      'untracked_executable credentials cli owned bytes finished_at duration_ms steps',
    ].join(' '),
  ),
};

export const eventsOfSupervisor = {
  listening: event('info', 'prompts are taken', 'address metrics_address cli_version'),
  descriptors_few: event(
    'warn',
    'few connections are taken, for few files may be open',
    'descriptors connections',
  ),
  draining: event('info', 'it was told to stop and finishes what runs', 'prompts'),
  settings_ignored: event(
    'error',
    'the CLI ignores settings.json, or a rule or a hook in it: prompts are refused (`BERTH_SETTINGS_CHECK`)',
    'problems',
  ),
  settings_in_force: event('info', 'what the CLI ignored of settings.json is in force again'),
  cli_variable_ignored: event(
    'warn',
    "a variable of the container looks like one of the CLI's, and is not handed to it",
    'name',
  ),
  tokens_loaded: event('info error', 'the API tokens were read, or could not be', 'names'),
  unclean_end: event(
    'warn',
    'the run before did not stop: it was killed (for its memory, or by the kubelet), its node died, or it ended by an error of its own',
    'since',
  ),
  run_mark_failed: event('warn', 'an end that nobody orders will not be told by the next run'),
  token_plain: event('warn', 'an API token is stored as it is, not as its SHA-256'),
  profiles_loaded: event(
    'info warn error',
    'the profiles were read, could not be and stay as they were, or hold a setting without effect',
    'names revision added removed changed',
  ),
  auth_failed: event(
    'warn',
    'requests without a valid token, at most one line a minute',
    'missing unknown address',
  ),
  audit: event(
    'info',
    'an act of administration, also one that was refused',
    'token action reason session_id refused',
  ),
  paused: event('warn', 'no prompts are taken, since before this start', 'by since'),
  pause_unreadable: event('error', 'whether it is paused cannot be read: it is', 'reason'),
  spending_unreadable: event('error', "the record of today's spending is damaged", 'reason saved'),
  spending_unrecorded: event('error', 'a restart would forget what was spent today'),
  cli_tested: event(
    'info warn',
    "the CLI's self-test, or why there is none; with `retry_ms`, why it is tried again",
    'cli_version by duration_ms retry_ms',
  ),
  cli_set_back: event('error', 'the CLI that init installed fails; the one before it is used'),
  commit_unrecorded: event('warn', 'the commit that works would not be known after a restart'),
  secrets_changed: event('info', 'Secrets that profiles name were rotated', 'profiles'),
  worker_starting: event('debug', 'a CLI process is started', 'worker profile session_id'),
  worker_ready: event('info', 'it takes prompts', 'worker pid profile session_id duration_ms'),
  worker_failed: event('error', 'it could not be started', 'worker profile session_id stderr'),
  cli_problem: event(
    'warn',
    'the CLI reports that an MCP server has no connection, a plugin or a skill was not loaded or a hook failed; once for each `problem`',
    'profile kind name problem',
  ),
  cli_problem_over: event('info', 'it works again', 'profile kind name'),
  worker_stray_output: event('warn', 'it wrote what berth does not know', 'worker'),
  unprompted_ended: event(
    'warn',
    'it worked without a prompt while nothing may run, and was ended',
    'worker session_id reason',
  ),
  session_claimed: event(
    'error',
    'its output claimed a session that is not its own: forged by a tool; it was ended',
    'worker session_id claimed',
  ),
  worker_ended: event(
    'debug warn',
    'it is gone; a warning if nobody had ended it',
    'worker profile session_id exit_code signal',
  ),
  worker_recycled: event('info', 'it is ended', 'worker reason profile session_id age_ms'),
  turn_started: event('debug', 'a worker has the prompt', 'worker'),
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
    'its worker was lost, and the turn goes on in another; with the reason `login`: a new login came just in time, and it goes on in the same',
    'worker reason session_id',
  ),
  cost_unseen: event(
    'error',
    'the CLI reports no cost of a turn: budgets count an estimate; use a CLI that was tested',
    'session_id cost_usd',
  ),
  reader_cut: event(
    'warn',
    'a client was cut off that does not read its stream',
    'token backlog_bytes',
  ),
  limit_reached: event(
    'warn',
    "no prompt of a login is sent: its account's limit is reached",
    'login reason resets_at guessed utilization warnings',
  ),
  limit_lifted: event(
    'info',
    'prompts of the login are sent again',
    'login reason resets_at guessed utilization warnings',
  ),
  session_unreadable: event(
    'warn',
    'a file that is no record of a session was set aside',
    'session_id saved reason',
  ),
  session_unrecorded: event(
    'warn error',
    "a session's record could not be written or removed",
    'session_id',
  ),
  session_removed: event('info', 'a session was removed', 'session_id reason'),
  sessions_loaded: event(
    'info warn error',
    'what sessions there are was read',
    'sessions unreadable directories_removed',
  ),
  retention_round: event(
    'debug info',
    'old sessions were cleared away',
    'expired over_budget leftovers failed bytes duration_ms',
  ),
  retention_failed: event(
    'warn error',
    'something could not be cleared away',
    'session_id step_ms',
  ),
  turn_unkept: event(
    'error',
    "a turn was answered and is not in its session's transcript: the volume is full",
    'session_id',
  ),
  configuration_changed: event(
    'error',
    'executable configuration was changed on the volume while CLIs run: it was put back (`restored`), a file that was not there is `set_aside`, or that has `failed`; [security.md](security.md#executable-configuration)',
    'path action saved why',
  ),
  configuration_distrusted: event(
    'error',
    'all processes are ended: they may have read configuration that a tool had changed',
  ),
  configuration_unkept: event(
    'warn',
    'an edit of executable configuration could not be put back',
    'count paths',
  ),
  disk_low: event('warn', 'there is little room', 'path total free'),
  disk_full: event('error', 'no session begins for want of room', 'path total free'),
  disk_recovered: event('info', 'there is room again', 'path total free'),
  memory_limit: event(
    'warn',
    'memory has a worker recycled; with the numbers that led to it',
    [
      'worker action cause grace_ms pressure worker_bytes worker_growth_bytes_per_second',
      'worker_processes working_set_bytes growth_bytes_per_second limit_bytes soft_bytes hard_bytes',
      'worker_soft_bytes worker_hard_bytes stalled_percent oom_kills',
    ].join(' '),
  ),
  memory_pressure: event(
    'info',
    'memory is short, or not any more',
    'pressure before working_set_bytes limit_bytes soft_bytes hard_bytes growth_bytes_per_second',
  ),
  memory_oom_kill: event('error', 'the kernel has killed processes', 'oom_kills limit_bytes'),
  memory_unreadable: event('info', 'memory bounds that do not apply, and why'),
  credentials_seen: event(
    'info error',
    "the CLI's login is another than before; an error if it is no good",
    'state expires_at login_expires_at refresh_token_id from path',
  ),
  credentials_unkept: event(
    'error',
    'what is known of the login could not be written; with `retry_ms`, the last good one could not be put back, which is tried again',
    'attempts retry_ms',
  ),
  credentials_put_back: event(
    'warn',
    'the last good login was put back; with `waited_ms`, after tries that failed',
    'state refresh_token_id attempts waited_ms',
  ),
  credentials_lost: event('error', 'a person must log in', 'state'),
  credentials_refresh_failed: event(
    'warn error',
    'a refresh of the login was due and has not come about: `refused` by the login server (error), `failed` with a turn, `postponed` while the old access token is good',
    'reason',
  ),
  credentials_of_one_pod: event(
    'info',
    'the login is a file that just one pod can use; several replicas need a setup-token or an API key',
  ),
  credentials_mounted: event(
    'warn error',
    'a login file is mounted so that it cannot change',
    'path',
  ),
};

export const eventsOfWriteBack = {
  credentials_written_back: event(
    'info',
    'the login is in the live Secret',
    'refresh_token_id expires_at source_digest duration_ms',
  ),
  write_back_kept: event(
    'debug warn',
    'the live Secret has this login already (debug), or keeps another one (warn); `outcome` says why',
    'refresh_token_id expires_at source_digest duration_ms outcome',
  ),
  write_back_failed: event(
    'debug warn error',
    'the live Secret could not be written; a failure that lasts is told again every ten minutes',
    'reason status failures pending',
  ),
  write_back_recovered: event('info', 'the live Secret can be written again', 'failures'),
};

export type EventName =
  | keyof typeof eventsOfBoth
  | keyof typeof eventsOfInit
  | keyof typeof eventsOfSupervisor
  | keyof typeof eventsOfWriteBack;
