/**
 * The error class of berth and the table of its codes.
 * Invariants: every failure that a person or a client can meet has a code in this table. The table
 * maps the code to the exit code of a program, the HTTP status of a response, and whether a retry
 * can succeed. Messages read "cannot <do> <what>: <cause>; <remedy>".
 */

interface ErrorKind {
  /** Exit code of a program that ends with this error (sysexits.h). */
  exit: number;
  /** HTTP status of a response that reports this error. */
  status: number;
  /** Whether the same request can succeed later without any change. */
  retryable: boolean;
  /** The short, unchanging title of the problem (RFC 9457). */
  title: string;
}

const kind = (exit: number, status: number, retryable: boolean, title: string): ErrorKind => ({
  exit,
  status,
  retryable,
  title,
});

export const errorTable = {
  config_invalid: kind(64, 500, false, 'The configuration is not valid'),
  volume_damaged: kind(65, 500, false, 'The volume cannot be repaired'),
  remote_unavailable: kind(69, 502, true, 'The git server cannot be reached'),
  internal: kind(70, 500, false, 'A bug in berth'),
  write_back_failed: kind(69, 502, true, 'The login could not be written back to its Secret'),
  volume_unwritable: kind(73, 507, true, 'The volume cannot be written'),
  lease_held: kind(75, 503, true, 'Another program holds the volume'),
  remote_refused: kind(77, 502, false, 'The git server refused'),
  login_failed: kind(77, 500, true, 'The login was not completed'),
  not_supported: kind(
    70,
    501,
    false,
    'The git server, or this version of berth, does not support this',
  ),
  cli_undelivered: kind(69, 502, true, "The CLI's tarball cannot be downloaded"),
  cli_refused: kind(77, 502, false, "The CLI's tarball is not the expected file"),

  invalid_request: kind(70, 400, false, 'The request is not valid'),
  unauthorized: kind(70, 401, false, 'The request carries no valid token'),
  token_revoked: kind(70, 401, false, 'The token was revoked'),
  forbidden: kind(70, 403, false, 'The token may not do this'),
  route_not_found: kind(70, 404, false, 'The resource does not exist'),
  profile_not_found: kind(70, 404, false, 'The profile does not exist'),
  job_not_found: kind(70, 404, false, 'The job does not exist'),
  job_not_ended: kind(70, 409, true, 'The job has not ended'),
  job_ended: kind(70, 409, false, 'The job has ended'),
  approval_pending: kind(70, 409, true, 'The turn waits for an approval'),
  approval_not_found: kind(70, 404, false, 'The approval does not exist'),
  approval_ended: kind(70, 409, false, 'The approval has ended'),
  job_expired: kind(70, 504, false, 'The job expired before its end'),
  jobs_full: kind(70, 429, true, 'Too many jobs are waiting'),
  quota_reserved: kind(70, 429, true, "The rest of the account's quota is reserved"),
  prompts_exceeded: kind(70, 429, true, 'The token starts too many prompts'),
  job_store_unavailable: kind(70, 503, true, 'The store of jobs cannot be used'),
  session_not_found: kind(70, 404, false, 'The session does not exist'),
  workspace_refused: kind(70, 403, false, 'The repository may not be used'),
  workspace_not_found: kind(70, 404, false, 'The repository or the ref does not exist'),
  workspace_too_large: kind(70, 413, false, 'The repository is too large'),
  workspace_unavailable: kind(70, 503, true, 'The repository cannot be fetched now'),
  publish_refused: kind(70, 422, false, 'The commits may not be published'),
  publish_failed: kind(70, 503, true, 'The commits could not be published'),
  method_not_allowed: kind(70, 405, false, 'The resource does not support this method'),
  request_timeout: kind(70, 408, true, 'The request did not arrive in time'),
  idempotency_conflict: kind(70, 409, true, 'The same prompt is being answered'),
  payload_too_large: kind(70, 413, false, 'The request is too large'),
  unsupported_media_type: kind(70, 415, false, 'The content type is not supported'),
  prompt_too_large: kind(70, 413, false, 'The prompt is too large for the model'),
  blocked_by_hook: kind(70, 422, false, 'A hook stopped the turn'),
  budget_exceeded: kind(70, 422, false, 'The turn has spent its budget'),
  model_not_found: kind(70, 422, false, 'The model does not exist for this login'),
  output_mismatch: kind(70, 422, false, 'The output does not match output_schema'),
  turns_exceeded: kind(70, 422, false, 'The turn has used up its turns'),
  queue_full: kind(70, 429, true, 'The queue is full'),
  rate_limited: kind(70, 429, true, 'The model API limits the rate of requests'),
  idempotency_mismatch: kind(70, 422, false, 'The idempotency key belongs to another prompt'),
  daily_budget_exceeded: kind(70, 429, true, 'A daily budget is used up'),
  headers_too_large: kind(70, 431, false, 'The head of the request is too large'),
  usage_limit: kind(70, 429, true, "The account's usage limit is reached"),
  interrupted: kind(70, 499, true, 'The turn was interrupted'),
  empty_answer: kind(70, 502, false, 'The turn ended without an answer'),
  turn_failed: kind(70, 502, false, 'The CLI ended the turn with an error'),
  permission_denied: kind(70, 502, false, 'The model API refuses this login'),
  worker_lost: kind(70, 502, false, 'The CLI ended in the middle of the turn'),
  model_unavailable: kind(70, 502, true, 'The model API failed'),
  billing_required: kind(70, 503, false, 'The account needs a payment'),
  cli_unavailable: kind(69, 503, true, 'The Claude Code CLI cannot be started'),
  mcp_unavailable: kind(70, 503, true, 'An MCP server that the profile requires is not connected'),
  worker_recycled: kind(70, 503, true, 'The process of the turn was ended'),
  login_unavailable: kind(70, 503, true, 'The login cannot be refreshed now'),
  login_required: kind(70, 503, false, 'The CLI is not logged in'),
  configuration_invalid: kind(65, 503, false, 'The CLI ignores settings that guard'),
  overloaded: kind(70, 503, true, 'The model API is overloaded'),
  paused: kind(70, 503, true, 'The server is paused'),
  disk_full: kind(73, 507, true, 'The disk is full'),
  draining: kind(70, 503, true, 'The server is stopping'),
  prompt_timeout: kind(70, 504, false, 'The prompt took too long'),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorTable;

export class BerthError extends Error {
  readonly code: ErrorCode;
  /** Additional facts for the reader of the error; never a secret. */
  readonly details: Record<string, unknown>;

  /**
   * @param message "cannot <do> <what>: <cause>; <remedy>"
   */
  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'BerthError';
    this.code = code;
    this.details = options.details ?? {};
  }

  get exitCode(): number {
    return errorTable[this.code].exit;
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}

/**
 * Returns any thrown value as a BerthError; a value that is not a BerthError is a bug and becomes
 * `internal`.
 */
export function asBerthError(thrown: unknown): BerthError {
  if (thrown instanceof BerthError) return thrown;
  return new BerthError(
    'internal',
    `cannot continue: ${messageOf(thrown)}; this is a bug in berth, please report it with the log`,
    { cause: thrown },
  );
}

/** The message of any thrown value. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The code that Node.js puts on its system errors (`ENOENT`, `EACCES` ...), if there is one. */
export function systemCode(thrown: unknown): string | undefined {
  const code = (thrown as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

const passing = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EINTR', 'ESTALE', 'ETIMEDOUT']);

/** Whether the system could not do it just now: such an error says nothing of the content of a file. */
export function isPassing(thrown: unknown): boolean {
  return passing.has(systemCode(thrown) ?? '');
}

/** Whether the error of the system means that there is no such file. */
export function isAbsent(thrown: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(systemCode(thrown) ?? '');
}

/** Errors that mean that there is no such file, or another kind of file: a symlink, a socket, a directory. */
const otherThanFile = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EISDIR']);

/**
 * Whether the system could not read a file that may be whole: a shortage, an error of the disk (`EIO`), or a missing
 * permission. Such a file is not lost.
 */
export function isUnread(thrown: unknown): boolean {
  const code = systemCode(thrown) ?? '';
  return /^E[A-Z0-9]+$/.test(code) && !otherThanFile.has(code);
}
