/**
 * The API server alone, on loopback: a function answers the prompts, and sessions are records without a
 * CLI. For tests that need no CLI.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Test } from 'tap';
import { BerthError } from '../../shared/errors.ts';
import { LiveApprovals } from '../../supervisor/approvals/live-approvals.ts';
import { Conversations } from '../../supervisor/conversations/conversations.ts';
import { Authentication } from '../../supervisor/http/authentication.ts';
import { Idempotency, type IdempotencyOptions } from '../../supervisor/http/idempotency.ts';
import { type HttpLimits, httpLimits } from '../../supervisor/http/limits.ts';
import { McpEndpoint } from '../../supervisor/http/mcp/endpoint.ts';
import { createApiServer } from '../../supervisor/http/server.ts';
import { digestToken, fixedTokens } from '../../supervisor/http/tokens.ts';
import { Approvals, type ApprovalsOptions } from '../../supervisor/jobs/approvals.ts';
import type { JobStore } from '../../supervisor/jobs/job-store.ts';
import { Jobs } from '../../supervisor/jobs/jobs.ts';
import { builtInProfile } from '../../supervisor/profiles/profile.ts';
import type { Answer } from '../../supervisor/prompts/answer.ts';
import { Pause } from '../../supervisor/prompts/pause.ts';
import { PromptResolver } from '../../supervisor/prompts/prompt.ts';
import type { RunsPrompts } from '../../supervisor/prompts/prompts.ts';
import { SessionCatalog } from '../../supervisor/sessions/catalog.ts';
import type { SessionRecord } from '../../supervisor/sessions/session-record.ts';
import { Transcripts } from '../../supervisor/sessions/transcripts.ts';
import { Workspaces } from '../../supervisor/sessions/workspaces.ts';
import { captureLog } from './captured-log.ts';
import { testDirectory } from './directory.ts';
import { memoryJobStore } from './memory-job-store.ts';
import { storeIn } from './session-record.ts';

export const token = 'a-token-of-the-tests';
export const otherToken = 'a-token-of-somebody-else';

export interface ApiServerTestOptions {
  run?: RunsPrompts['run'];
  limits?: Partial<HttpLimits>;
  idempotency?: Partial<IdempotencyOptions>;
  maxPromptBytes?: number;
  maxAttachmentBytes?: number;
  mayAdminister?: (name: string) => boolean;
  sessions?: readonly SessionRecord[];
  /** The store of jobs; nothing runs the jobs. */
  jobStore?: JobStore;
  approvals?: LiveApprovals;
  rulesOf?: ApprovalsOptions['rulesOf'];
  /** Aborts when the server begins to stop. */
  stopping?: AbortSignal;
  /** The settings BERTH_MCP_ORIGINS and BERTH_MCP_HOSTS. */
  origins?: readonly string[];
  hosts?: readonly string[];
}

export async function startApiServer(t: Test, options: ApiServerTestOptions = {}) {
  const log = captureLog();
  const failures: string[] = [];
  const authentication = new Authentication({
    tokens: fixedTokens([
      { name: 'tests', digest: digestToken(token) },
      { name: 'somebody', digest: digestToken(otherToken) },
    ]),
    log: log.log,
    onFailure: (reason) => failures.push(reason),
  });
  const directory = testDirectory(t, { state: {}, work: {}, tmp: {} });
  const store = storeIn(t, join(directory, 'state'));
  for (const record of options.sessions ?? []) await store.write(record);
  const promptResolver = new PromptResolver({
    store,
    profiles: { get: () => profile, forToken: () => profile },
    promptTimeout: 60_000,
  });
  const sessions = { run: options.run ?? (async () => answerOf('hello')) };
  const profiles = { all: () => [profile], forToken: () => profile };
  const transcripts = new Transcripts({
    configDirectory: directory,
    temporaryDirectory: join(directory, 'tmp'),
  });
  const jobStore = options.jobStore ?? memoryJobStore();
  const shared = {
    profiles,
    jobs: new Jobs({
      store: jobStore,
      promptResolver,
      timeout: 7_200_000,
      onCancelled: () => {},
    }),
    checkCallback: (url: string) => {
      if (new URL(url).hostname === 'n8n.example') return;
      throw new BerthError('invalid_request', 'cannot accept callback_url: a test; add the host');
    },
    approvals: new Approvals({
      live: options.approvals ?? new LiveApprovals(),
      store: jobStore,
      rulesOf: options.rulesOf ?? (() => undefined),
    }),
    stopping: options.stopping ?? new AbortController().signal,
    catalog: new SessionCatalog({
      store,
      transcripts,
      workspaces: new Workspaces(join(directory, 'work')),
      running: {
        stateOf: () => 'stored',
        interrupt: () => false,
        endSession: async () => {},
      },
      log: log.log,
    }),
    log: log.log,
  };
  const calls: string[] = [];
  const server = await createApiServer({
    ...shared,
    mcp: new McpEndpoint({
      ...shared,
      maxPromptBytes: options.maxPromptBytes ?? 1024 ** 2,
      onCall: (tool, outcome) => calls.push(`${tool} ${outcome}`),
      ...{ origins: options.origins ?? [], hosts: options.hosts ?? [] },
    }),
    sessions,
    conversations: new Conversations({
      ...{ promptResolver, prompts: sessions, profiles, store, transcripts },
      forksAt: async () => true,
      onOrigin: () => {},
    }),
    admission: { review: () => {} },
    pause: new Pause(join(directory, 'state'), log.log),
    mayAdminister: options.mayAdminister ?? (() => true),
    idempotency: new Idempotency({ window: 60_000, ...options.idempotency }),
    authentication,
    maxPromptBytes: options.maxPromptBytes ?? 1024 ** 2,
    maxAttachmentBytes: options.maxAttachmentBytes ?? 0,
    promptResolver,
    status: () => {
      throw new Error('not asked here');
    },
    limits: { ...httpLimits, ...options.limits },
  });
  t.teardown(() => {
    server.server.closeAllConnections();
    return server.close();
  });
  const url = await server.listen({ host: '127.0.0.1', port: 0 });
  return { url, port: Number(new URL(url).port), log, failures, authentication, calls };
}

const profile = builtInProfile(0);

/** An answer as sessions give it. */
export function answerOf(result: string): Answer {
  const usage = {
    input_tokens: 1,
    output_tokens: 1,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
  };
  return {
    id: `prompt_${randomUUID()}`,
    session_id: randomUUID(),
    profile: 'default',
    result,
    is_error: false,
    stop_reason: 'end_turn',
    usage,
    cost_usd: 0.01,
    num_turns: 1,
    duration_ms: 1,
    queued_ms: 0,
    ttft_ms: 1,
    permission_denials: [],
    warnings: [],
    recycled: 0,
    recycle_reason: null,
  };
}
