import t from 'tap';
import { wantedHosts } from '../../../supervisor/doctor/egress.ts';
import { checkGithub } from '../../../supervisor/doctor/github.ts';

/** What must be reached, and what may as well not be, with the reason. */
function wanted(environment: Record<string, string>) {
  const all = wantedHosts({ CLAUDE_CODE_OAUTH_TOKEN: 'x', ...environment });
  const name = ({ host, port }: { host: string; port: number }) => `${host}:${port}`;
  return {
    needed: all.filter(({ spare }) => !spare).map(name),
    spare: Object.fromEntries(
      all.filter(({ spare }) => spare).map((each) => [name(each), each.spare]),
    ),
    all,
  };
}

t.test('owner/name is on GitHub', (t) => {
  for (const BERTH_REPO of ['me/dot-claude', 'https://github.com/me/dot-claude']) {
    const { needed } = wanted({ BERTH_REPO });
    t.same(needed.sort(), ['api.anthropic.com:443', 'api.github.com:443', 'github.com:443']);
  }
  t.end();
});

const servers: [url: string, needed: string, rest: object][] = [
  ['https://git.example.org/me/dot-claude', 'git.example.org:443', { tls: true }],
  ['https://git.example.org:8443/me/x.git', 'git.example.org:8443', { tls: true }],
  ['http://git.example.org/me/dot-claude', 'git.example.org:80', { tls: false, http: true }],
  ['http://gitea.git.svc:3000/me/dot-claude', 'gitea.git.svc:3000', { tls: false, http: true }],
  ['HTTP://[fd00::1]:3000/me/dot-claude', 'fd00::1:3000', { tls: false }],
];
for (const [url, needed, rest] of servers) {
  t.test(`with ${url} that is wanted, and GitHub is not`, (t) => {
    const found = wanted({ BERTH_REPO: url });
    t.same(found.needed.sort(), ['api.anthropic.com:443', needed].sort());
    t.match(found.spare['github.com:443'], `the repository is on ${needed}`);
    t.match(found.spare['api.github.com:443'], `the repository is on ${needed}`);
    t.match(
      found.all.find(({ why }) => /serves the repository/.test(why)),
      rest,
    );
    t.end();
  });
}

t.test('each address that a setting names is wanted itself, in the place of the usual one', (t) => {
  const { needed, spare } = wanted({
    BERTH_REPO: 'https://github.example.org/me/dot-claude',
    BERTH_GITHUB_API_URL: 'https://github.example.org:8444/api/v3',
    ANTHROPIC_BASE_URL: 'http://model.llm.svc:4000',
    BERTH_CLAUDE_TARBALL: 'https://registry.npmjs.org/claude.tgz',
  });
  t.same(needed, [
    'github.example.org:443',
    'github.example.org:8444',
    'model.llm.svc:4000',
    'registry.npmjs.org:443',
  ]);
  t.match(spare, {
    'api.github.com:443': "GitHub's API is at github.example.org:8444",
    'api.anthropic.com:443': 'the model is on model.llm.svc:4000',
  });
  t.end();
});

t.test('a token for another server is not sent to GitHub', async (t) => {
  const environment = {
    BERTH_REPO: 'http://127.0.0.1:9/me/dot-claude',
    BERTH_GIT_TOKEN: 'a-token-of-another-server',
    // It would show as a finding if it were asked.
    HTTPS_PROXY: 'http://127.0.0.1:9',
  };
  const findings = await checkGithub(environment, new AbortController().signal);
  t.match(findings, [{ status: 'warning', detail: /is in this container/ }]);
  t.equal(findings.length, 1);
});
