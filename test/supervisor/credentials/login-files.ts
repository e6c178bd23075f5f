/** Login files as the CLI writes them, with made-up tokens. */
import { type Credentials, judgeCredentials } from '../../../shared/credentials.ts';

const expiresAt = Date.parse('2030-01-01T00:00:00Z');

export function credentials(id: string, rest: object = {}): string {
  return JSON.stringify({
    claudeAiOauth: {
      accessToken: `sk-ant-oat01-access-${id}`,
      refreshToken: `sk-ant-ort01-refresh-${id}`,
      expiresAt,
      scopes: ['user:inference'],
      ...rest,
    },
  });
}

/** As the CLI leaves it after `invalid_grant`. */
export const blank = credentials('x', { accessToken: '', refreshToken: '', expiresAt: 0 });

/** The login `credentials(id, rest)` as it is judged. */
export function login(id: string, rest: object = {}): Credentials {
  const judgement = judgeCredentials(credentials(id, rest));
  if (judgement.kind !== 'valid') throw new Error(`the login ${id} is ${judgement.kind}`);
  return judgement.credentials;
}
