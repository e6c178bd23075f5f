/**
 * Resolves the request of a caller to a prompt that can run, with its session and its profile.
 * Invariants: only the token that began a session continues it, and only with the profile that it began with. The flags
 * in a record on the volume are checked like those of a request, since the CLI can write to the volume.
 */
import { BerthError } from '../../shared/errors.ts';
import { withoutAbsent } from '../../shared/without-absent.ts';
import type { ApprovalKeeper } from '../approvals/prompt-approvals.ts';
import type { Attachment } from '../attachments/attachment.ts';
import { type AttachmentLimits, checkLimits, usualLimits } from '../attachments/limits.ts';
import type { Lane } from '../pool/waiting-line.ts';
import {
  type OverrideFields,
  type Overrides,
  readOverrides,
  refused,
} from '../profiles/overrides.ts';
import type { Profile } from '../profiles/profile.ts';
import { SchemaCheck } from '../profiles/schema-check.ts';
import {
  longestFlags,
  type SessionFlags,
  type SessionRecord,
  sessionFlags,
} from '../sessions/session-record.ts';
import type { PromptPriority } from '../spending/quota.ts';
import type { PublishRequest, WorkspaceRequest } from '../workspaces/workspace-request.ts';
import { workspaceOf } from './workspace-of-prompt.ts';

/** The request as received. */
export interface PromptRequest {
  text: string;
  /** The files that come with the text; absent: none. See `attachmentOf`. */
  attachments?: readonly Attachment[] | undefined;
  /** The checkout that the session is to have; absent: that of the profile, if it has one. */
  workspace?: WorkspaceRequest | undefined;
  /** What happens with the commits of the turn; absent: nothing. */
  publish?: PublishRequest | undefined;
  /** The session to continue; undefined begins a session. */
  sessionId: string | undefined;
  /** Whether to begin a new session with the history of that session. */
  fork: boolean;
  /** The name of a profile; by default that of the session, of the token, or `default`. */
  profile: string | undefined;
  fields: OverrideFields;
  /** Whether only `fields` count. Absent: those of the first prompt of the session count too, where they are not set. */
  ownFieldsOnly?: boolean;
  onLimit: 'fail' | 'wait';
  onRecycle: 'continue' | 'fail';
  /** The name of the caller's token. */
  token: string;
  /** The id of the token among the tokens of that name; undefined if it cannot be revoked. */
  tokenId: string | undefined;
  /** Undefined: normal. Prompts of priority `background` may have a smaller share of the account. */
  priority?: PromptPriority | undefined;
  /** The caller's W3C trace context, if it sent a valid one. */
  traceparent: string | undefined;
}

/** The session and the id with which a prompt was sent to the CLI. */
export interface SentPrompt {
  sessionId: string;
  /** The CLI writes it beside the prompt in the transcript. */
  promptId: string;
}

/** A request that was checked and can run. */
export interface Prompt
  extends Pick<
    PromptRequest,
    | 'text'
    | 'attachments'
    | 'fork'
    | 'onLimit'
    | 'onRecycle'
    | 'token'
    | 'tokenId'
    | 'traceparent'
    | 'priority'
    | 'workspace'
    | 'publish'
  > {
  /** The session that the prompt continues or copies. */
  record: SessionRecord | undefined;
  profile: Profile;
  overrides: Overrides;
  /**
   * What the profile is now to the prompt; undefined if it was not loaded again. Absent: the profile stays.
   * @throws BerthError as `PromptResolver.resolve`, if the profile no longer allows the prompt
   */
  renewed?: () => Pick<Prompt, 'profile' | 'overrides'> | undefined;
  /** The flags that a session keeps which begins with this prompt. */
  flags: SessionFlags;
  /** Milliseconds from acceptance to the answer at most; of a job, only those with a worker count. */
  timeout: number;
  /** Keeps the approvals of a job; absent for a prompt. */
  approvals?: ApprovalKeeper;
  /** With `continues`: the text that continues the turn; absent: the usual one. */
  carryOn?: string | undefined;
  /** `interactive` if absent. */
  lane?: Lane;
  /** With `fork`: the last message of the transcript that is copied; absent: the whole conversation. */
  forkAt?: string | undefined;
  /** The transcript of `record` has this prompt, whose turn an earlier process of berth has begun. */
  continues?: SentPrompt;
  /**
   * Called and awaited before the text of the prompt is sent to the CLI, not before a text that continues the turn.
   * If the callback rejects, the prompt ends with that error.
   */
  onSend?: (sent: SentPrompt) => Promise<void>;
}

export interface PromptResolverOptions {
  store: { read: (id: string) => Promise<SessionRecord | undefined> };
  /** Makes a session of a lost replica exist here. @returns false if it cannot; the default */
  adopt?: (sessionId: string) => Promise<boolean>;
  profiles: {
    get: (name: string) => Profile | undefined;
    forToken: (token: string, requested: string | undefined) => Profile;
  };
  /** The longest and the default time of a prompt, in milliseconds. */
  promptTimeout: number;
  attachmentLimits?: AttachmentLimits;
}

export class PromptResolver {
  readonly #options: PromptResolverOptions;
  readonly #schemas = new SchemaCheck();

  constructor(options: PromptResolverOptions) {
    this.#options = options;
  }

  /**
   * @throws BerthError `session_not_found`, `profile_not_found`, `invalid_request` with the field and
   *   what would allow it, `payload_too_large` for attachments, `workspace_refused`
   */
  async resolve(request: PromptRequest): Promise<Prompt> {
    const record = await this.#recordOf(request);
    const profile = this.#profileOf(request, record);
    const kept = request.ownFieldsOnly ? undefined : record?.flags;
    const fields = { ...kept, ...withoutAbsent(request.fields) };
    const drops =
      record?.flags.append_system_prompt !== undefined && fields.append_system_prompt === undefined;
    const { promptTimeout, attachmentLimits = usualLimits } = this.#options;
    const { attachments = [] } = request;
    const allowedBy = (profile: Profile): Overrides => {
      checkLimits(attachments, attachmentLimits, profile.name, profile.attachments);
      const overrides = readOverrides(fields, profile, promptTimeout);
      return drops ? { ...overrides, dropsInstructions: true } : overrides;
    };
    const overrides = allowedBy(profile);
    const checkout = workspaceOf(request, profile, record);
    let last = profile;
    const renewed: Prompt['renewed'] = () => {
      const profile = this.#profileOf(request, record);
      if (profile === last) return undefined;
      workspaceOf({ ...request, ...checkout }, profile, record);
      const renewed = { profile, overrides: allowedBy(profile) };
      last = profile;
      return renewed;
    };
    if (overrides.outputSchema) await this.#checkSchema(overrides.outputSchema);
    const flags = sessionFlags.parse(fields);
    checkLength(flags);
    const { text, fork, onLimit, onRecycle, token, tokenId, traceparent, priority } = request;
    return {
      ...{ text, fork, onLimit, onRecycle, token, tokenId, traceparent, priority },
      ...(attachments.length > 0 ? { attachments } : {}),
      ...checkout,
      record,
      profile,
      overrides,
      renewed,
      flags,
      timeout:
        overrides.timeout ?? Math.min(profile.limits.timeout ?? promptTimeout, promptTimeout),
    };
  }

  /** @throws BerthError `session_not_found` if the session is unknown or another token's */
  async #recordOf(request: PromptRequest): Promise<SessionRecord | undefined> {
    const { sessionId, fork, token } = request;
    if (sessionId === undefined) {
      if (!fork) return undefined;
      throw new BerthError(
        'invalid_request',
        'cannot fork: the prompt names no session; send the session_id of the session to copy',
      );
    }
    const { store, adopt } = this.#options;
    let record = await store.read(sessionId);
    if (!record && (await adopt?.(sessionId))) record = await store.read(sessionId);
    if (record?.token === token) return record;
    throw unknownSession(sessionId);
  }

  /** @throws BerthError `invalid_request` */
  async #checkSchema(schema: object): Promise<void> {
    const verdict = await this.#schemas.check(schema);
    if (verdict.kind !== 'wrong') return;
    throw refused('output_schema', `it is no JSON Schema (${verdict.cause})`, 'correct it');
  }

  #profileOf(
    { profile: requested, token }: PromptRequest,
    record: SessionRecord | undefined,
  ): Profile {
    const { profiles } = this.#options;
    if (!record) return profiles.forToken(token, requested);
    if (requested !== undefined && requested !== record.profile) {
      throw new BerthError(
        'invalid_request',
        `cannot continue the session ${record.id} with the profile ${JSON.stringify(requested)}: it began with ${record.profile}, and a session keeps its profile; omit "profile", or begin a new session`,
        { details: { field: 'profile', session_id: record.id } },
      );
    }
    return profiles.forToken(token, record.profile);
  }
}

/** @throws BerthError `invalid_request` for more than a session's record may hold */
function checkLength(flags: SessionFlags): void {
  if (Buffer.byteLength(JSON.stringify(flags)) <= longestFlags) return;
  const what = `with "allowed_tools" it has more than ${longestFlags} bytes as JSON, and a session keeps both`;
  throw refused('append_system_prompt', what, 'put long instructions into the prompt');
}

/** The error for a session that does not exist or belongs to another token: both get the same text. */
export function unknownSession(id: string): BerthError {
  return new BerthError(
    'session_not_found',
    `cannot continue the session ${id}: this token has no session with this id; omit session_id to begin a session`,
  );
}

/** A W3C trace context: version, trace id, parent id, flags. Later versions may have more at the end. */
const traceContext = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * The header `traceparent` unchanged, if it is valid; otherwise undefined, as the standard
 * requires.
 */
export function validTraceparent(header: unknown): string | undefined {
  if (typeof header !== 'string' || header.length > 512) return undefined;
  const [, version, trace = '', parent = '', , more] = traceContext.exec(header) ?? [];
  if (version === undefined || version === 'ff') return undefined;
  if (version === '00' && more !== undefined) return undefined;
  return /[^0]/.test(trace) && /[^0]/.test(parent) ? header : undefined;
}

/** The trace id of a valid traceparent, 32 hex digits. */
export function traceIdOf(traceparent: string): string {
  return traceparent.slice(3, 35);
}
