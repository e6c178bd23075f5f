import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readInitConfig } from '../../../init/config.ts';
import { asRemoteError } from '../../../init/git/remote-errors.ts';
import { testDirectory } from '../../support/directory.ts';

const url = 'https://git.example.org/me/claude';
const refused = Object.assign(new Error('401'), { code: 'HttpError', data: { statusCode: 401 } });

/** What is said of a token that the server refuses. */
function said(environment: Record<string, string>): string {
  const { config } = readInitConfig({ BERTH_REPO: url, ...environment });
  const context = { url, authenticated: config.token !== undefined, tokenPlace: config.tokenPlace };
  return asRemoteError(refused, context)?.message ?? '';
}

t.test('a refused token is to be put where it came from', (t) => {
  const file = join(testDirectory(t), 'token');
  writeFileSync(file, 'a-token-in-a-file\n');
  const kubernetes = { KUBERNETES_SERVICE_HOST: '10.0.0.1' };
  const cases: [environment: Record<string, string>, place: string][] = [
    [{ GITHUB_PAT: 'a-made-up-pat' }, 'GITHUB_PAT'],
    [{ GITHUB_TOKEN: 'a-made-up-token' }, 'GITHUB_TOKEN'],
    [{ BERTH_GIT_TOKEN: 'a-made-up-token' }, 'BERTH_GIT_TOKEN'],
    [{ GITHUB_PAT_FILE: file }, 'GITHUB_PAT_FILE'],
    [
      { GITHUB_PAT: 'a-made-up-pat', ...kubernetes },
      'the Secret from which the pod gets GITHUB_PAT',
    ],
    [
      { BERTH_GIT_TOKEN_FILE: file, ...kubernetes },
      `the Secret that is mounted at ${file} (BERTH_GIT_TOKEN_FILE)`,
    ],
  ];
  for (const [environment, place] of cases) {
    const message = said(environment);
    t.ok(message.endsWith(`create a new token and put it into ${place}`), message);
  }
  t.match(said({}), /put a token into BERTH_GIT_TOKEN$/);
  t.match(said(kubernetes), /put a token into a Secret \(berth-git, key token\), and name its/);
  t.end();
});
