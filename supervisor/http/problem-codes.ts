/**
 * Lists the error codes of the HTTP API, by route.
 * Invariant: a code of the error table that is not in `ofPrograms`, `ofOtherRoutes`, `ofJobs` or `ofApprovals` counts as a
 * possible result of a prompt, so the OpenAPI document is always complete.
 */
import { type ErrorCode, errorTable } from '../../shared/errors.ts';

/** Codes with which programs end, or a run of a job is given up; no request is answered with them. */
const ofPrograms: readonly ErrorCode[] = [
  'config_invalid',
  'volume_damaged',
  'remote_unavailable',
  'remote_refused',
  'lease_held',
  'cli_undelivered',
  'cli_refused',
  'login_failed',
  'write_back_failed',
  'approval_pending',
];

/** Codes of requests that match no route, and of callers without admin rights. */
const ofOtherRoutes: readonly ErrorCode[] = ['route_not_found', 'method_not_allowed', 'forbidden'];

/** Codes that each route can answer. */
export const commonProblems: readonly ErrorCode[] = [
  'invalid_request',
  'unauthorized',
  'request_timeout',
  'headers_too_large',
  'internal',
];

/** Codes that each route with a body can answer. */
export const bodyProblems: readonly ErrorCode[] = ['payload_too_large', 'unsupported_media_type'];

const allCodes = Object.keys(errorTable) as ErrorCode[];

/** Every code that the HTTP API can answer. */
export const apiProblems: readonly ErrorCode[] = allCodes.filter(
  (code) => !ofPrograms.includes(code),
);

/** Codes of requests that name a job. */
const ofJobs: readonly ErrorCode[] = ['job_not_found', 'job_not_ended', 'job_ended'];

/** Codes of requests that name an approval. */
const ofApprovals: readonly ErrorCode[] = ['approval_not_found', 'approval_ended'];

/** Codes with which a job is not accepted, besides those of its fields. */
export const jobProblems: readonly ErrorCode[] = [
  'jobs_full',
  'job_store_unavailable',
  'volume_unwritable',
];

/** Codes that a prompt can end with. */
export const promptProblems: readonly ErrorCode[] = apiProblems.filter(
  (code) => !ofOtherRoutes.includes(code) && !ofJobs.includes(code) && !ofApprovals.includes(code),
);
