/** `berth pause` and `berth resume`: call the server in the same pod, with an API token. */
import type { Listen } from '../../shared/setting-types.ts';
import { callServer } from './call-server.ts';

export interface AdminCall {
  command: 'pause' | 'resume';
  reason: string | undefined;
  token: string;
  /** Where the server listens. */
  at: Listen;
}

/**
 * @returns what the server answered, as text for a person
 * @throws BerthError `config_invalid` if the server cannot be reached or refuses
 */
export async function callAdmin({ command, reason, token, at }: AdminCall): Promise<string> {
  const body = command === 'pause' ? (reason === undefined ? {} : { reason }) : undefined;
  const what = `${command} the server`;
  const text = await callServer({ what, method: 'POST', path: `/v1/${command}`, body, token, at });
  return `${text}\n`;
}
