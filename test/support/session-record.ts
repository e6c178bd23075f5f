/** Records of sessions, as tests need them. */

import type { Test } from 'tap';
import type { SessionRecord } from '../../supervisor/sessions/session-record.ts';
import { SessionStore } from '../../supervisor/sessions/session-store.ts';
import { captureLog } from './captured-log.ts';

export const sessionId = '6f1c3b0e-6b0f-4b57-8d28-5d3c1f0f7a11';

export function sessionRecord(changes: Partial<SessionRecord> = {}): SessionRecord {
  return {
    version: 2,
    id: sessionId,
    token: 'n8n',
    profile: 'default',
    created_at: '2026-01-01T00:00:00.000Z',
    last_used_at: '2026-01-01T00:00:00.000Z',
    turns: 1,
    cost_usd: 0.5,
    usage: {
      input_tokens: 10,
      output_tokens: 20,
      cache_creation_input_tokens: 30,
      cache_read_input_tokens: 40,
    },
    working_directory: { path: '/workspace', mode: 'shared' },
    forked_from: null,
    flags: {},
    cli_version: '2.1.330',
    ...changes,
  };
}

/** The id of the n-th of many. */
export const idOf = (number: number): string =>
  `${number.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`;

/** The test ends the store before it removes the directory: a store writes late. */
export function storeIn(
  t: Test,
  stateDirectory: string,
  options: { most?: number } = {},
): SessionStore {
  const { log } = captureLog();
  const store = new SessionStore({
    stateDirectory,
    sharedDirectory: '/workspace',
    log,
    writeDelay: 10,
    ...options,
  });
  t.teardown(() => store.stop());
  return store;
}
