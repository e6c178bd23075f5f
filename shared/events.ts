/**
 * The names of all log events. A line's `event` is one of these, so that a query in Loki can rely
 * on it; a new event is added here first.
 */

export type EventName =
  // both programs
  | 'started'
  | 'stopped'
  | 'failed'
  | 'unknown_setting'
  | 'lease_waiting'
  | 'lease_acquired'
  | 'lease_lost'
  | 'lease_released'
  // init
  | 'preflight'
  | 'preflight_warning'
  | 'remote_resolved'
  | 'remote_retry'
  | 'remote_failed'
  | 'fetched'
  | 'volume_inspected'
  | 'volume_repaired'
  | 'config_drift'
  | 'local_change'
  | 'path_skipped'
  | 'lfs_pointer'
  | 'reconciled'
  | 'credentials_applied'
  | 'credentials_kept'
  | 'credentials_missing'
  | 'ownership_changed'
  | 'report'
  // supervisor
  | 'listening'
  | 'draining'
  | 'tokens_loaded'
  | 'token_plain'
  | 'request'
  | 'worker_starting'
  | 'worker_ready'
  | 'worker_failed'
  | 'worker_stray_output'
  | 'worker_ended'
  | 'worker_recycled'
  | 'turn_started'
  | 'turn_finished'
  | 'session_unrecorded'
  | 'api_retry'
  | 'memory_limit'
  | 'memory_unreadable'
  | 'credentials_seen'
  | 'credentials_unreadable';
