/**
 * The real CLI with a login of the stand-in login server in place of an API key; the stand-in
 * Messages API then lets in only who shows an access token that the login server gave out.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { makeSurroundings, type Surroundings } from './claude.ts';
import { type LoginOptions, type LoginServer, startLoginServer } from './login-server.ts';

export interface LoggedIn {
  surroundings: Surroundings;
  server: LoginServer;
}

/**
 * @param login of the first login. `lifetime` below zero: its access token is over already;
 *   `refreshed`: how long those live that it is refreshed to
 */
export async function loggedIn(
  t: Test,
  login: LoginOptions,
  config: Record<string, string> = {},
): Promise<LoggedIn> {
  const surroundings = await makeSurroundings(t, config);
  const server = await startLoginServer();
  t.teardown(() => server.close());
  writeFileSync(join(surroundings.config, '.credentials.json'), server.login(login), {
    mode: 0o600,
  });
  useLogin(surroundings, server);
  return { surroundings, server };
}

/** Makes the CLI and the Messages API know the login server. */
export function useLogin({ api, inherited }: Surroundings, server: LoginServer): void {
  delete inherited.ANTHROPIC_API_KEY;
  Object.assign(inherited, server.environment);
  api.reply(({ headers }) => {
    const shown = String(headers.authorization ?? '').replace(/^Bearer /, '');
    return server.logins.admits(shown) ? undefined : { status: 401, text: 'Invalid bearer token' };
  });
}
