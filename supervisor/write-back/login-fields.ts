/**
 * Selects the fields of a login file that may go into the Secret: the fields of the CLI's login,
 * each with a valid shape, and nothing else, because any program can write the file. The logins of
 * MCP servers are left out. Fields as the CLI 2.1.330 writes them.
 */
import { z } from 'zod';
import { type Credentials, judgeCredentials } from '../../shared/credentials.ts';

const word = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/);

const fields: Record<string, z.ZodType> = {
  accessToken: z.string(),
  refreshToken: z.string().nullable(),
  expiresAt: z.number(),
  refreshTokenExpiresAt: z.number(),
  scopes: z.array(word).min(1).max(64),
  subscriptionType: word.nullable(),
  subscriptionTypeSource: word,
  subscriptionTypeVerifiedAt: z.number(),
  rateLimitTier: word.nullable(),
  clientId: word,
  accountUuid: word,
  organizationUuid: word,
};

/**
 * The login that may be written back, in the order of the file, without invalid fields.
 * @returns undefined if the rest is not a login
 */
export function knownFields({ text }: Credentials): Credentials | undefined {
  const { claudeAiOauth } = JSON.parse(text) as { claudeAiOauth: Record<string, unknown> };
  const known = Object.entries(claudeAiOauth).filter(
    ([name, value]) => Object.hasOwn(fields, name) && fields[name]?.safeParse(value).success,
  );
  const login = { claudeAiOauth: Object.fromEntries(known) };
  const judgement = judgeCredentials(JSON.stringify(login));
  return judgement.kind === 'valid' ? judgement.credentials : undefined;
}
