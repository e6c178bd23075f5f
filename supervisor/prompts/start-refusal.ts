/**
 * What refuses a prompt before it is counted as started: ignored settings, a full disk, or a limit of its account. The
 * same may still happen later, while the prompt waits.
 */
import { asBerthError, type BerthError } from '../../shared/errors.ts';
import type { LimitGate } from './limit-gate.ts';
import type { Logins } from './login-use.ts';
import type { Prompt } from './prompt.ts';

export interface StartRefusalOptions {
  /** `assertInForce` throws `configuration_invalid` if the CLI ignores settings that protect. */
  settings: { assertInForce: () => void };
  /** `assertRoom` rejects with `disk_full` if no session may begin, or none may continue. */
  disk: { assertRoom: (begins: boolean) => Promise<void> };
  gate: Pick<LimitGate, 'passRefusalOf'>;
  logins: Pick<Logins, 'keyOf'>;
}

/** @returns `configuration_invalid`, `disk_full`, `usage_limit` or `rate_limited`; undefined if the prompt may start */
export async function startRefusalOf(
  { settings, disk, gate, logins }: StartRefusalOptions,
  prompt: Prompt,
): Promise<BerthError | undefined> {
  const { record, fork, onLimit, timeout } = prompt;
  try {
    settings.assertInForce();
    await disk.assertRoom(record === undefined || fork);
  } catch (error) {
    return asBerthError(error);
  }
  const patience = { wait: onLimit === 'wait', deadline: Date.now() + timeout };
  return gate.passRefusalOf(logins.keyOf(prompt), patience);
}
