/**
 * What of a login file may go into the Secret: the fields that the CLI's login consists of, each in
 * its shape, and nothing else, for the file is anybody's text. The logins of MCP servers stay behind.
 * Fields as the CLI 2.1.330 writes them.
 */
import { z } from 'zod';
import { type Credentials, judgeCredentials } from '../../shared/credentials.ts';

const word = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/);

/** What the CLI can do without goes where it is not as it should be. */
const beside = {
  refreshTokenExpiresAt: z.number(),
  subscriptionType: word.nullable(),
  subscriptionTypeSource: word,
  subscriptionTypeVerifiedAt: z.number(),
  rateLimitTier: word.nullable(),
  clientId: word,
  accountUuid: word,
  organizationUuid: word,
};

const needed = z.object({
  accessToken: z.string(),
  refreshToken: z.string().nullish(),
  expiresAt: z.number(),
  scopes: z.array(word).min(1).max(64),
});

/**
 * The login as it may be written back; its text is made anew, so its digest is another.
 * @returns undefined if its scopes are no scopes
 */
export function knownFields({ text }: Credentials): Credentials | undefined {
  const { claudeAiOauth: given } = JSON.parse(text) as { claudeAiOauth: Record<string, unknown> };
  const parsed = needed.safeParse(given);
  if (!parsed.success) return undefined;
  const more = Object.entries(beside).flatMap(([name, schema]) => {
    const field = Object.hasOwn(given, name) ? schema.safeParse(given[name]) : undefined;
    return field?.success ? [[name, field.data]] : [];
  });
  const login = { ...parsed.data, ...Object.fromEntries(more) };
  const judgement = judgeCredentials(JSON.stringify({ claudeAiOauth: login }));
  return judgement.kind === 'valid' ? judgement.credentials : undefined;
}
