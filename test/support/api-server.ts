/** The API server alone, on loopback, with prompts answered by a function: for what needs no CLI. */
import { randomUUID } from 'node:crypto';
import type { Test } from 'tap';
import { Authentication } from '../../supervisor/http/authentication.ts';
import { Idempotency, type IdempotencyOptions } from '../../supervisor/http/idempotency.ts';
import { type HttpLimits, httpLimits } from '../../supervisor/http/limits.ts';
import { createApiServer } from '../../supervisor/http/server.ts';
import { digestToken, fixedTokens } from '../../supervisor/http/tokens.ts';
import { builtInProfile } from '../../supervisor/profiles/profile.ts';
import type { Answer } from '../../supervisor/prompts/answer.ts';
import { Pause } from '../../supervisor/prompts/pause.ts';
import { Intake } from '../../supervisor/prompts/prompt.ts';
import type { RunsPrompts } from '../../supervisor/prompts/prompts.ts';
import { captureLog } from './captured-log.ts';
import { testDirectory } from './directory.ts';

export const token = 'a-token-of-the-tests';
export const otherToken = 'a-token-of-somebody-else';

export interface ApiServerTestOptions {
  run?: RunsPrompts['run'];
  limits?: Partial<HttpLimits>;
  idempotency?: Partial<IdempotencyOptions>;
  maxPromptBytes?: number;
  mayAdminister?: (name: string) => boolean;
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
  const server = await createApiServer({
    sessions: { run: options.run ?? (async () => answerOf('hello')) },
    admission: { review: () => {} },
    pause: new Pause(testDirectory(t, {}), log.log),
    mayAdminister: options.mayAdminister ?? (() => true),
    idempotency: new Idempotency({ window: 60_000, ...options.idempotency }),
    authentication,
    maxPromptBytes: options.maxPromptBytes ?? 1024 ** 2,
    intake: new Intake({
      store: { read: async () => undefined },
      profiles: { get: () => profile, forToken: () => profile },
      promptTimeout: 60_000,
    }),
    catalog: {} as never,
    status: () => {
      throw new Error('not asked here');
    },
    log: log.log,
    limits: { ...httpLimits, ...options.limits },
  });
  t.teardown(() => {
    server.server.closeAllConnections();
    return server.close();
  });
  const url = await server.listen({ host: '127.0.0.1', port: 0 });
  return { url, port: Number(new URL(url).port), log, failures, authentication };
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
