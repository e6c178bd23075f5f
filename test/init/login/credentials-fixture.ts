/** A volume, a source and a live source of credentials, and one run of init's rule on them. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { applyCredentials, type CredentialsOutcome } from '../../../init/login/credentials.ts';
import type { CredentialsPolicy } from '../../../shared/credentials-choice.ts';
import { openAside } from '../../../shared/set-aside.ts';
import { testDirectory } from '../../support/directory.ts';
import { captureLog } from '../fixture.ts';

const hour = 3_600_000;

/** Credentials whose access token ends `hours` after a fixed time; `name` makes them tell apart. */
export function login(name: string, hours: number): string {
  return JSON.stringify({
    claudeAiOauth: {
      accessToken: `access-of-${name}-${hours}`,
      refreshToken: `refresh-of-${name}-${hours}`,
      expiresAt: Date.UTC(2030, 0, 1) + hours * hour,
      scopes: ['user:inference'],
    },
  });
}

/** The same credentials as another tool renders them: other spaces, another order, a final newline. */
export function renderedAgain(text: string): string {
  const { claudeAiOauth } = JSON.parse(text);
  const reversed = Object.fromEntries(Object.entries(claudeAiOauth).reverse());
  return `${JSON.stringify({ claudeAiOauth: reversed }, null, 2)}\n`;
}

/** As the CLI leaves them when the login server has refused its refresh token. */
export const blank = JSON.stringify({
  claudeAiOauth: { accessToken: '', refreshToken: '', expiresAt: 0, scopes: ['user:inference'] },
});

export function prepareVolume(t: Test) {
  const directory = testDirectory(t, { volume: { '.berth': {} }, source: {}, live: {} });
  const paths = {
    volume: join(directory, 'volume/.credentials.json'),
    source: join(directory, 'source/credentials.json'),
    live: join(directory, 'live/credentials.json'),
    lineage: join(directory, 'live/source-digest'),
    loginLineage: join(directory, 'live/source-login-digest'),
    lastGood: join(directory, 'volume/.berth/last-good-credentials.json'),
    record: join(directory, 'volume/.berth/credentials.json'),
  };
  const { log, lines } = captureLog();
  const stateDirectory = join(directory, 'volume/.berth');
  return {
    directory,
    paths,
    lines,
    put: (name: keyof typeof paths, text: string) => writeFileSync(paths[name], text),
    read: (name: keyof typeof paths) =>
      existsSync(paths[name]) ? readFileSync(paths[name], 'utf8') : undefined,
    apply: (policy: CredentialsPolicy = 'fresher'): Promise<CredentialsOutcome> =>
      applyCredentials({
        policy,
        configDirectory: join(directory, 'volume'),
        stateDirectory,
        source: paths.source,
        liveSource: paths.live,
        owner: undefined,
        conflicts: openAside(join(stateDirectory, 'conflicts'), 'test'),
        lease: { assertHeld: async () => undefined },
        log,
      }),
  };
}
